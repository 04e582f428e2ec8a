# What every node has. Who the scripts log in as: the password is `correct horse`, its hash is a file outside of the store as for anybody.
{
  environment.etc."posthorn-test/anna.hash" = {
    mode = "0400";
    text = "$6$posthorntest$Ot5nocLKgjX08fuA0f8fiWyuB2RerANPXCAbWcY7JdgGk73gpvfpbdt3FlSXZrURtYOD3zg/0NZ8LHtpt6LFT/\n";
  };

  # Nobody on this network knows names, so nothing is checked that is about them.
  services.posthorn.settings.checks.enable = false;
}
