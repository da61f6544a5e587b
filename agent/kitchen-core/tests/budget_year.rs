//! Years of traffic in seconds: random loads, bursts, outages, tariffs that change, hostile districts, clocks that jump,
//! boots. An operator counts along with his own clock and up to 5 % more, and an oracle that knew the year beforehand says
//! what the same money could have delivered.
//!
//! `BUDGET_SEEDS=1000` for the long form; `BUDGET_SEED=n` for one year and its story.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells its figures")]

mod year;

use year::{Outcome, Plan, run};

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match (number("BUDGET_SEED"), number("BUDGET_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, seeds) => (0..seeds.unwrap_or(50)).collect(),
    }
}

fn run_all(plan: impl Fn(u64) -> Plan) -> Vec<Outcome> {
    let outcomes: Vec<Outcome> = seeds().into_iter().map(|seed| run(&plan(seed))).collect();
    let broken: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| outcome.broken.iter().map(|what| format!("{}: {what}", outcome.plan)))
        .collect();
    assert!(broken.is_empty(), "{} broken promises:\n{}", broken.len(), broken.join("\n"));
    outcomes
}

#[test]
fn no_year_passes_a_ceiling_or_refuses_a_grave_text_while_the_reserve_lasts() {
    let outcomes = run_all(Plan::rough);
    let boxes = outcomes.len();
    let months: usize = outcomes.iter().map(|outcome| outcome.months).sum();
    let at_its_end = outcomes.iter().filter(|outcome| outcome.silent_hours > 0).count();
    let texts: u64 = outcomes.iter().map(|outcome| outcome.grave_texts).sum();
    let fullest = outcomes.iter().map(|outcome| outcome.fullest_percent).fold(0.0, f64::max);
    println!(
        "{boxes} years, {months} months: none above its ceiling, the fullest at {fullest:.2} % of it by the operator's count; \
         {texts} grave texts; in {at_its_end} years the money ended before a month did"
    );
}

#[test]
fn on_steady_loads_nearly_all_is_delivered_that_the_money_could_deliver() {
    let mut outcomes = run_all(Plan::steady);
    outcomes.sort_by(|a, b| a.share().total_cmp(&b.share()));
    let share = |part: usize| outcomes[(outcomes.len() - 1) * part / 100].share();
    println!(
        "value delivered of the oracle's: least {:.3}, 10 % {:.3}, median {:.3}, mean {:.3}",
        share(0),
        share(10),
        share(50),
        outcomes.iter().map(Outcome::share).sum::<f64>() / outcomes.len() as f64
    );
    for outcome in outcomes.iter().take(5) {
        println!("  {:.3} {} ({})", outcome.share(), outcome.plan, outcome.explanation());
    }
    let scarce: Vec<f64> =
        outcomes.iter().filter(|outcome| outcome.clips_sent < outcome.clips * 9 / 10).map(Outcome::share).collect();
    println!(
        "  {} years had too little money for their clips: median {:.3}",
        scarce.len(),
        scarce.get(scarce.len() / 2).unwrap_or(&1.0)
    );
    assert!(outcomes.len() < 20 || share(50) >= 0.9, "median {:.3}", share(50));
}
