//! The program as a whole, on real input, judged by real programs.

mod programs;
mod spine;
mod world;
