//! Receiving, storing, the directory and the listeners, over a whole appliance and a real PostgreSQL.

mod port25;
