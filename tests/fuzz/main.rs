//! Bytes that lie: whatever comes from a file or a server, nothing panics, nothing
//! goes round in circles, and no more memory is taken than the bytes are worth.
//!
//! A program of its own, because it counts all memory of the process. Each test
//! runs for `FUZZ_SECONDS`, 4 where nothing is said; what fails is made small and
//! printed.

#[allow(dead_code, reason = "shared with the tests of decoding")]
#[path = "../decode/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "shared with the tests of decoding")]
#[path = "../decode/golden.rs"]
mod golden;

mod bytes;
mod server;
mod statements;

use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Memory is the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// An input of some hundred kilobytes takes a fraction of this; what takes
/// longer goes round in circles.
const CASE_TIME_MAX: Duration = Duration::from_secs(10);

/// Cases between two looks at the clock.
const CASES: u32 = 32;

/// Runs `case` on generated values until the time is over. A case may take
/// `bytes` of memory beyond what is there before it.
fn fuzz<S: Strategy>(strategy: &S, bytes: usize, case: impl Fn(S::Value)) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = std::env::var("FUZZ_SECONDS").map_or(4, |text| text.parse().expect("seconds"));
    let over = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    while Instant::now() < over {
        let ran = runner.run(strategy, |value| {
            bounded(bytes, || case(value));
            Ok(())
        });
        ran.unwrap_or_else(|failed| panic!("{failed}"));
    }
    drop(alone);
}

/// A decoder that panics is caught, and its panic must cost nothing: a backtrace
/// reads all the debugging information of this program into memory.
#[expect(clippy::print_stderr, reason = "where panics are told")]
fn tell_panics_briefly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
}

/// Demands that `work` takes no more memory than this, and not for ever.
fn bounded(bytes: usize, work: impl FnOnce()) {
    tell_panics_briefly();
    HEAP.reset_peak_usage();
    let (before, began) = (HEAP.current_usage(), Instant::now());
    work();
    let used = HEAP.peak_usage().saturating_sub(before);
    assert!(used <= bytes, "{used} bytes of memory, not {bytes}");
    let took = began.elapsed();
    assert!(took < CASE_TIME_MAX, "it took {took:?}");
}

/// The same for one case that is not generated.
fn alone(bytes: usize, work: impl FnOnce()) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    bounded(bytes, work);
    drop(alone);
}
