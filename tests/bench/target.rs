//! The server that is measured.

use clap::Args;

/// Where the server is, who its users are, and which processes it consists of. The variables are those that
/// `posthorn demo --env FILE` writes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    /// Address or name of the server.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port of SMTP.
    #[arg(long, env = "SMTP_PORT", default_value_t = 25)]
    pub(crate) smtp_port: u16,
    /// Port of LMTP.
    #[arg(long, env = "LMTP_PORT", default_value_t = 24)]
    pub(crate) lmtp_port: u16,
    /// Port of IMAP without TLS; the server must let users log in there.
    #[arg(long, env = "IMAP_PORT", default_value_t = 143)]
    pub(crate) imap_port: u16,
    /// Addresses and logins of the users; %d is the number.
    #[arg(long, env = "USERFMT", default_value = "u%d@example.org")]
    pub(crate) user_format: String,
    /// The password that all users share.
    #[arg(long, env = "ACCOUNT_PASS", hide_env_values = true, default_value = "")]
    pub(crate) password: String,
    /// A process of the server; its children count too. May be given several times.
    #[arg(long = "pid")]
    pub(crate) pids: Vec<u32>,
    #[arg(long, env = "SERVER_PID", hide = true)]
    server_pid: Option<u32>,
    #[arg(long, env = "POSTGRES_PID", hide = true)]
    postgres_pid: Option<u32>,
}

impl Target {
    /// Address and login of a user.
    pub(crate) fn user(&self, number: usize) -> String {
        self.user_format.replace("%d", &number.to_string())
    }

    /// The processes at the root of everything that counts: those named, otherwise those of the demo.
    pub(crate) fn roots(&self) -> Vec<u32> {
        match self.pids.as_slice() {
            [] => self.server_pid.into_iter().chain(self.postgres_pid).collect(),
            named => named.to_vec(),
        }
    }
}
