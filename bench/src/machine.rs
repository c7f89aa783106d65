//! How busy the machine is, whatever runs on it: where it is busy all the time, times say more about it than about Outhook.

/// What the processors had done at one moment, in ticks since the start of the machine (`/proc/stat`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    all: u64,
    idle: u64,
}

impl Processors {
    pub(crate) fn now() -> Self {
        Self::read(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn read(stat: &str) -> Self {
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        // Idle, and waiting for a disk.
        Self { all: ticks.iter().sum(), idle: ticks.iter().skip(3).take(2).sum() }
    }

    /// The share of the time since then that was not idle, from 0 to 1.
    pub(crate) fn busy_since(self) -> f64 {
        self.busy_until(Self::now())
    }

    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn busy_until(self, now: Self) -> f64 {
        let all = now.all.saturating_sub(self.all).max(1);
        1.0 - now.idle.saturating_sub(self.idle) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_of_all_ticks_that_were_not_idle() {
        let before = Processors::read("cpu  10 0 10 70 10 0 0\ncpu0 1 1 1 1");
        let after = Processors::read("cpu  40 0 20 120 20 0 0\n");
        assert!((before.busy_until(after) - 0.4).abs() < 1e-9);
    }
}
