//! Why a source is down, as `/ready` says it.

/// Nobody answers.
pub(super) const AWAY: &str = "PostgreSQL cannot be reached";
/// A wrong password, a missing table or right.
pub(super) const REFUSED: &str = "PostgreSQL refuses";
/// What one session says does not reach another one.
pub(super) const NO_LISTEN: &str = "LISTEN does not come through what --database-url names (a pooler in transaction \
                                    mode?); give PostgreSQL's own address";
