//! Throughline's gateway: the part that knows the command line, tokens, Prometheus and the outside world.

pub mod metrics;
