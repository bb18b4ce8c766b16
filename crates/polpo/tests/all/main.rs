//! The program as a whole, on real input, judged by real programs.

mod interrupted;
mod messages;
mod programs;
mod spine;
mod world;
