//! Chance that is the same for one seed everywhere.

/// The sequence of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub struct Random(pub u64);

impl Random {
    /// Evenly from 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Tells the stories that `bin-scripts/torture` asks for.
pub fn tell(story: fn(u64)) {
    let number =
        |name: &str| std::env::var(name).map_or(1, |text| text.parse::<u64>().expect("a number"));
    let first = number("TORTURE_FIRST");
    for seed in first..first + number("TORTURE_COUNT") {
        println!("seed {seed}");
        story(seed);
    }
}
