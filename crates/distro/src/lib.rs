//! A distribution: the seed that its first stage is built with, and what is built upon it.

pub mod seed;
