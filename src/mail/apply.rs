//! Making the directory equal to a file: domains, accounts and aliases as somebody declared them.
