//! `windlass login …` and its likes: people at the command line.

use clap::{Args, Subcommand};
use uuid::Uuid;

/// What `windlass login` takes. The password is asked for, or is a line of standard input.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// A link that works once, as the first start prints it
    #[arg(value_name = "LINK", conflicts_with = "email", required_unless_present_any = ["email", "provider"])]
    pub link: Option<String>,
    /// The address to sign in with
    #[arg(long)]
    pub email: Option<String>,
    /// The identity provider to sign in with, in a browser on this machine
    #[arg(long, value_name = "NAME", conflicts_with_all = ["link", "email"])]
    pub provider: Option<String>,
    /// The slug of the tenant to sign in to. When left out: the first one that you are a member of, and with a provider
    /// the installation's first one
    #[arg(long, value_name = "SLUG")]
    pub tenant: Option<String>,
}

/// What `windlass invite` takes.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Whom: an e-mail address
    pub email: String,
    /// With which role, such as `viewer`, `operator`, `builder`, `tenant_admin`
    #[arg(long, default_value = "viewer")]
    pub role: String,
    /// Days for which the link works
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=30))]
    pub days: u32,
}

/// What `windlass join` takes. The password is asked for, or is a line of standard input.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The link of the invitation
    pub link: String,
    /// What people call you, when you are new
    #[arg(long)]
    pub name: Option<String>,
}

/// `windlass users …`
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Make a link that signs a user in, once, within an hour: for whoever lost the password
    Link {
        /// The user's id
        id: uuid::Uuid,
    },
    /// Delete a user: its memberships, sessions, keys and identities end at once, and its address is free
    Delete {
        /// The user's id
        id: uuid::Uuid,
    },
    /// End the second factor of a user who lost it, recovery codes and all
    EndSecondFactor {
        /// The user's id
        id: uuid::Uuid,
    },
}

/// `windlass second-factor …`
#[derive(Debug, Subcommand)]
pub enum SecondFactorCommand {
    /// Begin one: print what an app needs to make codes, this once
    Begin,
    /// Confirm it with a code of the app, and print recovery codes, this once
    Confirm {
        /// The six digits that the app shows
        code: String,
    },
    /// End it
    End {
        /// The six digits that the app shows, or a recovery code
        code: String,
    },
}

/// `windlass delegations …`
#[derive(Debug, Subcommand)]
pub enum DelegationsCommand {
    /// Let people of another tenant act in this one with a role, and print the link for an administrator there, this once
    Offer {
        /// The name of the role
        #[arg(long)]
        role: String,
        /// Why: both tenants see it
        #[arg(long)]
        reason: String,
        /// Days after which it ends
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// Accept a delegation for your tenant by its link
    Accept {
        /// What the other tenant handed over
        link: String,
    },
    /// List the delegations to your tenant that hold. Those that it gave: `windlass people delegations list`
    Received,
    /// Act in the tenant of a delegation: print a session's token, this once, to be put into `WINDLASS_TOKEN`
    Enter {
        /// The delegation's id
        delegation: Uuid,
        /// Minutes after which it ends; it ends with your own session too
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=480))]
        minutes: u32,
    },
    /// Give a delegation back: nobody of your tenant comes by it any more
    Return {
        /// The delegation's id
        delegation: Uuid,
    },
}

/// What `windlass impersonate` takes.
#[derive(Debug, Args)]
pub struct ImpersonateArgs {
    /// In whose name: the e-mail address of a member
    pub email: String,
    /// Why: the member sees it, and it stands in the audit
    #[arg(long)]
    pub reason: String,
    /// Minutes after which it ends; it ends with your own session too
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=480))]
    pub minutes: u32,
}
