//! Why a source is down, as shown by `/ready`.

/// No server answers.
pub(super) const AWAY: &str = "PostgreSQL cannot be reached";
/// A wrong password, a missing table or a missing privilege.
pub(super) const REFUSED: &str = "PostgreSQL refuses";
/// A notification of one session does not reach another session.
pub(super) const NO_LISTEN: &str = "LISTEN does not come through what --database-url names (a pooler in transaction \
                                    mode?); give PostgreSQL's own address";
