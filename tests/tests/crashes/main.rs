//! What dies, and what must survive it, on both shapes.

mod matrix;
mod points;
mod stale;
mod work;
