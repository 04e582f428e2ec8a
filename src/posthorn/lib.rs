//! posthorn
