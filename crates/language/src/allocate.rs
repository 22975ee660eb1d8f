//! Which agent does which task: a numeric problem, so that its answer has properties.
//!
//! 1. *List scheduling* (Graham 1969, with the priority of the longest way to the end, Hu 1961): tasks in the order in
//!    which they become ready each get the agent with which they end first. While no capacity binds, that is the fastest
//!    agent for every task and the length is that of the shortest critical path there can be.
//! 2. *Slack reclamation* (after Kelley's critical path method, 1961, and the discrete time-cost trade-off): keeping that
//!    length, every task that is not critical gets the cheapest agent that still ends within its slack. Done once
//!    forwards, where the first tasks of a way have the choice, and once backwards, where the last have; the cheaper of
//!    the two schedules that are not longer counts.
//!
//! Capacities are bounds at once of each agent and of the plan as a whole. The answer never is longer, nor dearer, than
//! the schedule of the first step. Cost: (tasks × choices + dependencies) × log tasks.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

/// An agent that could do a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its number, an index into the capacities; one that is not there has no bound of its own.
    pub agent: u32,
    /// How long a call takes with it; `None` = not known: as long as the slowest known choice, nothing when none is.
    pub duration: Option<Duration>,
    /// Price of a call.
    pub cost: f64,
}

/// A task as the allocation sees it. A job stands after those it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Indices of the jobs it waits for, all smaller than its own.
    pub after: &'a [u32],
    /// Calls that it makes, at least 1.
    pub calls: u32,
    /// Agents that could do it; without any it takes no time and no agent.
    pub choices: &'a [Choice],
}

/// What a job was given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Allotment {
    /// Index in the job's choices; `None` when it has none.
    pub choice: Option<u32>,
    /// When it can begin at the earliest.
    pub start: Duration,
    /// When it is done.
    pub finish: Duration,
    /// How much later it could be done without making the whole longer.
    pub slack: Duration,
    /// Price of all its calls.
    pub cost: f64,
}

/// An agent for every job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// By job.
    pub jobs: Vec<Allotment>,
    /// When the last job is done.
    pub length: Duration,
    /// Price of all calls.
    pub cost: f64,
}

/// Gives every job an agent. `capacities`: calls at once, by agent; `calls_max`: calls at once of all jobs together.
/// Neither is taken to be less than 1. The same input gives the same answer.
pub fn allocate(jobs: &[Job<'_>], capacities: &[u32], calls_max: u32) -> Allocation {
    let problem = Problem::new(jobs, capacities, calls_max.max(1));
    let fastest = problem.schedule(&problem.rank, |job, ready, pools| problem.first_done(job, ready, pools));
    let latest = problem.latest(fastest.length, |job| problem.picked(job, &fastest));
    let forwards = problem.schedule(&problem.rank, |job, ready, pools| {
        let within = problem.cheapest(job, |way| pools.finish(way, ready) <= latest[job]);
        within.or_else(|| problem.first_done(job, ready, pools))
    });
    let given = problem.backwards(&fastest);
    let backwards = problem.schedule(&problem.rank, |job, _, _| given[job]);
    let best = [forwards, backwards].into_iter().filter(|s| s.length <= fastest.length).min_by(cheaper);
    let best = best.into_iter().chain([fastest]).min_by(cheaper).unwrap_or_default();
    problem.answer(&best)
}

fn cheaper(a: &Schedule, b: &Schedule) -> Ordering {
    a.cost.total_cmp(&b.cost)
}

/// A choice in numbers.
#[derive(Clone, Copy, Debug)]
struct Way {
    choice: u32,
    agent: usize,
    /// Calls of the job at once with this agent.
    width: u64,
    /// Of all calls of the job, in microseconds.
    takes: u64,
    cost: f64,
}

struct Problem<'a> {
    jobs: &'a [Job<'a>],
    capacities: &'a [u32],
    calls_max: u32,
    /// Ways of all jobs, one job after the other, and where each job's begin.
    ways: Vec<Way>,
    first: Vec<usize>,
    /// Longest way from the beginning of a job to the end with the fastest agents.
    rank: Vec<u64>,
    /// Jobs that wait for a job, one job after the other, and where each job's begin.
    next: Vec<u32>,
    next_first: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Schedule {
    /// Of each job: index into the ways, begin and end.
    picks: Vec<(Option<usize>, u64, u64)>,
    length: u64,
    cost: f64,
}

impl<'a> Problem<'a> {
    fn new(jobs: &'a [Job<'a>], capacities: &'a [u32], calls_max: u32) -> Self {
        let (mut ways, mut first) = (Vec::new(), Vec::with_capacity(jobs.len() + 1));
        for job in jobs {
            first.push(ways.len());
            let slowest = job.choices.iter().filter_map(|c| c.duration).max().unwrap_or_default();
            for (choice, c) in (0..).zip(job.choices) {
                let capacity =
                    capacities.get(c.agent as usize).map_or(u32::MAX, |n| (*n).max(1)).min(calls_max);
                let (calls, width) = (job.calls.max(1), job.calls.clamp(1, capacity));
                let call = u64::try_from(c.duration.unwrap_or(slowest).as_micros()).unwrap_or(u64::MAX);
                let takes = call.saturating_mul(u64::from(calls.div_ceil(width)));
                let cost = c.cost * f64::from(calls);
                ways.push(Way { choice, agent: c.agent as usize, width: width.into(), takes, cost });
            }
        }
        first.push(ways.len());
        let (next, next_first) = successors(jobs);
        let mut problem =
            Self { jobs, capacities, calls_max, ways, first, rank: Vec::new(), next, next_first };
        let mut rank = vec![0u64; jobs.len()];
        for job in (0..jobs.len()).rev() {
            let own = problem.ways_of(job).iter().map(|w| w.takes).min().unwrap_or(0);
            rank[job] = rank[job].saturating_add(own);
            for &before in jobs[job].after {
                rank[before as usize] = rank[before as usize].max(rank[job]);
            }
        }
        problem.rank = rank;
        problem
    }

    fn ways_of(&self, job: usize) -> &[Way] {
        &self.ways[self.first[job]..self.first[job + 1]]
    }

    fn indexed(&self, job: usize) -> impl Iterator<Item = (usize, &Way)> {
        (self.first[job]..).zip(self.ways_of(job))
    }

    /// The way that is done first; of several the cheapest.
    fn first_done(&self, job: usize, ready: u64, pools: &Pools) -> Option<usize> {
        let key = |way: &Way| (pools.finish(way, ready), way.cost);
        let order = |a: &(u64, f64), b: &(u64, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
        let keyed = self.indexed(job).map(|(at, way)| (at, key(way)));
        keyed.min_by(|(_, a), (_, b)| order(a, b)).map(|(at, _)| at)
    }

    /// The cheapest way that is allowed; of several the fastest.
    fn cheapest(&self, job: usize, allowed: impl Fn(&Way) -> bool) -> Option<usize> {
        let fits = self.indexed(job).filter(|(_, way)| allowed(way));
        fits.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then(a.takes.cmp(&b.takes))).map(|(at, _)| at)
    }

    fn picked(&self, job: usize, schedule: &Schedule) -> u64 {
        schedule.picks[job].0.map_or(0, |at| self.ways[at].takes)
    }

    /// Until when each job has to be done for the whole to be done at `length`, when they take so long.
    fn latest(&self, length: u64, takes: impl Fn(usize) -> u64) -> Vec<u64> {
        let mut latest = vec![length; self.jobs.len()];
        for job in (0..self.jobs.len()).rev() {
            let begin = latest[job].saturating_sub(takes(job));
            for &before in self.jobs[job].after {
                latest[before as usize] = latest[before as usize].min(begin);
            }
        }
        latest
    }

    /// The cheapest way of each job, last jobs first, when all before it take the fastest way.
    fn backwards(&self, fastest: &Schedule) -> Vec<Option<usize>> {
        let quickest = |job: usize| self.ways_of(job).iter().map(|w| w.takes).min().unwrap_or(0);
        let mut ready = vec![0u64; self.jobs.len()];
        for (job, of) in self.jobs.iter().enumerate() {
            let before = of.after.iter().map(|&b| ready[b as usize].saturating_add(quickest(b as usize)));
            ready[job] = before.max().unwrap_or(0);
        }
        let mut latest = vec![fastest.length; self.jobs.len()];
        let mut given = vec![None; self.jobs.len()];
        for job in (0..self.jobs.len()).rev() {
            let fits = |way: &Way| ready[job].saturating_add(way.takes) <= latest[job];
            given[job] = self.cheapest(job, fits).or(fastest.picks[job].0);
            let begin = latest[job].saturating_sub(given[job].map_or(0, |at| self.ways[at].takes));
            for &before in self.jobs[job].after {
                latest[before as usize] = latest[before as usize].min(begin);
            }
        }
        given
    }

    /// Lets the jobs run: in the order in which they become ready, those with the longest way to the end first.
    fn schedule(&self, rank: &[u64], pick: impl Fn(usize, u64, &Pools) -> Option<usize>) -> Schedule {
        let mut pools = Pools::new(self.capacities, self.calls_max);
        let mut missing: Vec<usize> = self.jobs.iter().map(|job| job.after.len()).collect();
        let mut ready_at = vec![0u64; self.jobs.len()];
        let mut out = Schedule { picks: vec![(None, 0, 0); self.jobs.len()], ..Schedule::default() };
        let free = (0..self.jobs.len()).filter(|job| missing[*job] == 0);
        let mut queue: BinaryHeap<_> = free.map(|job| Reverse((0, Reverse(rank[job]), job))).collect();
        while let Some(Reverse((ready, _, job))) = queue.pop() {
            let at = pick(job, ready, &pools);
            let (start, finish) = match at {
                Some(at) => pools.take(&self.ways[at], ready),
                None => (ready, ready),
            };
            out.picks[job] = (at, start, finish);
            out.cost += at.map_or(0.0, |at| self.ways[at].cost);
            out.length = out.length.max(finish);
            for &next in &self.next[self.next_first[job]..self.next_first[job + 1]] {
                let next = next as usize;
                ready_at[next] = ready_at[next].max(finish);
                missing[next] -= 1;
                if missing[next] == 0 {
                    queue.push(Reverse((ready_at[next], Reverse(rank[next]), next)));
                }
            }
        }
        out
    }

    fn answer(&self, schedule: &Schedule) -> Allocation {
        let latest = self.latest(schedule.length, |job| self.picked(job, schedule));
        let jobs = schedule.picks.iter().zip(&latest).map(|(&(at, start, finish), latest)| Allotment {
            choice: at.map(|at| self.ways[at].choice),
            start: Duration::from_micros(start),
            finish: Duration::from_micros(finish),
            slack: Duration::from_micros(latest.saturating_sub(finish)),
            cost: at.map_or(0.0, |at| self.ways[at].cost),
        });
        Allocation {
            jobs: jobs.collect(),
            length: Duration::from_micros(schedule.length),
            cost: schedule.cost,
        }
    }
}

fn successors(jobs: &[Job<'_>]) -> (Vec<u32>, Vec<usize>) {
    let mut first = vec![0usize; jobs.len() + 1];
    for before in jobs.iter().flat_map(|job| job.after) {
        first[*before as usize + 1] += 1;
    }
    for job in 0..jobs.len() {
        first[job + 1] += first[job];
    }
    let (mut next, mut end) = (vec![0u32; first[jobs.len()]], first.clone());
    for (job, of) in (0u32..).zip(jobs) {
        for &before in of.after {
            next[end[before as usize]] = job;
            end[before as usize] += 1;
        }
    }
    (next, first)
}

/// Slots at once, and when those in use are free again. Asked in the order of time.
struct Pool {
    idle: u64,
    busy: BTreeMap<u64, u64>,
}

impl Pool {
    fn new(capacity: u32) -> Self {
        Self { idle: capacity.max(1).into(), busy: BTreeMap::new() }
    }

    /// When `n` slots are free, from `ready` on. More than there are is when all are.
    fn free_at(&self, n: u64, ready: u64) -> u64 {
        let mut free = self.idle;
        let mut at = ready;
        for (when, slots) in &self.busy {
            if free >= n {
                break;
            }
            free += slots;
            at = at.max(*when);
        }
        at
    }

    /// Takes the `n` slots that are free first. `ready`: nobody asks for an earlier time any more.
    fn take(&mut self, n: u64, ready: u64, finish: u64) {
        while let Some(first) = self.busy.first_entry().filter(|first| *first.key() <= ready) {
            self.idle += first.remove();
        }
        let mut left = n.saturating_sub(self.idle);
        self.idle -= n - left;
        while left > 0
            && let Some(mut first) = self.busy.first_entry()
        {
            let of_it = left.min(*first.get());
            left -= of_it;
            *first.get_mut() -= of_it;
            if *first.get() == 0 {
                first.remove();
            }
        }
        *self.busy.entry(finish).or_default() += n;
    }
}

/// Slots of the agents, and of the plan as a whole.
struct Pools {
    agents: Vec<Pool>,
    plan: Pool,
}

impl Pools {
    fn new(capacities: &[u32], calls_max: u32) -> Self {
        Self { agents: capacities.iter().map(|n| Pool::new(*n)).collect(), plan: Pool::new(calls_max) }
    }

    fn start(&self, way: &Way, ready: u64) -> u64 {
        let own = self.agents.get(way.agent).map_or(ready, |pool| pool.free_at(way.width, ready));
        self.plan.free_at(way.width, own)
    }

    fn finish(&self, way: &Way, ready: u64) -> u64 {
        self.start(way, ready).saturating_add(way.takes)
    }

    fn take(&mut self, way: &Way, ready: u64) -> (u64, u64) {
        let start = self.start(way, ready);
        let finish = start.saturating_add(way.takes);
        if let Some(pool) = self.agents.get_mut(way.agent) {
            pool.take(way.width, ready, finish);
        }
        self.plan.take(way.width, ready, finish);
        (start, finish)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(agent: u32, seconds: u64, cost: u32) -> Choice {
        Choice { agent, duration: Some(Duration::from_secs(seconds)), cost: cost.into() }
    }

    /// A fast and a dear agent 0, a slow and a cheap agent 1.
    fn two() -> [Choice; 2] {
        [choice(0, 1, 10), choice(1, 3, 1)]
    }

    fn agents(allocation: &Allocation) -> Vec<Option<u32>> {
        allocation.jobs.iter().map(|j| j.choice).collect()
    }

    fn slack(allocation: &Allocation) -> Vec<u64> {
        allocation.jobs.iter().map(|j| j.slack.as_secs()).collect()
    }

    #[test]
    fn what_is_not_critical_goes_to_cheaper_agents_within_its_slack() {
        let (both, slow) = (two(), [choice(2, 5, 7)]);
        // A long way 0-1-3 and a short one 0-2-3.
        let job = |after, choices| Job { after, calls: 1, choices };
        let jobs = [job(&[], &both[..]), job(&[0], &slow), job(&[0], &both), job(&[1, 2], &both)];
        let found = allocate(&jobs, &[8, 8, 8], u32::MAX);
        assert_eq!(found.length, Duration::from_secs(7), "one and five and one");
        assert_eq!(agents(&found), [Some(0), Some(0), Some(1), Some(0)]);
        assert_eq!((found.cost, slack(&found)), (28.0, vec![0, 0, 2, 0]));
    }

    #[test]
    fn slack_goes_to_where_it_saves_more() {
        // Two jobs in a row beside one of five seconds: only one of the two can take the slower agent.
        let (slow, one, two) = ([choice(9, 5, 0)], two(), [choice(0, 1, 100), choice(1, 3, 1)]);
        for (first, second, want) in [(&one, &two, [Some(0), Some(1)]), (&two, &one, [Some(1), Some(0)])] {
            let job = |after, choices| Job { after, calls: 1, choices };
            let jobs = [job(&[], &slow[..]), job(&[], &first[..]), job(&[1], &second[..])];
            let found = allocate(&jobs, &[8, 8], u32::MAX);
            assert_eq!(found.length, Duration::from_secs(5));
            assert_eq!(agents(&found)[1..], want);
            assert_eq!(slack(&found), [0, 1, 1]);
        }
    }

    #[test]
    fn capacities_spread_the_work_and_bound_the_length() {
        let both = two();
        let jobs = [Job { after: &[], calls: 1, choices: &both }; 6];
        let found = allocate(&jobs, &[1, 8], u32::MAX);
        assert_eq!(found.length, Duration::from_secs(3), "three with the fast agent, three with the other");
        let found = allocate(&jobs, &[1, 8], 1);
        assert_eq!(found.length, Duration::from_secs(6), "one at a time");
        let wide = [Job { after: &[], calls: 7, choices: &both[..1] }];
        let found = allocate(&wide, &[3], u32::MAX);
        assert_eq!((found.length.as_secs(), found.cost), (3, 70.0), "seven calls, three at once");
    }

    #[test]
    fn what_is_not_known_counts_as_the_slowest_that_is() {
        let unknown = |agent, cost| Choice { duration: None, ..choice(agent, 0, cost) };
        let mixed = [unknown(0, 1), choice(1, 4, 9), choice(2, 2, 9)];
        let none = [unknown(0, 5), unknown(1, 3)];
        let jobs = [
            Job { after: &[], calls: 1, choices: &mixed },
            Job { after: &[0], calls: 1, choices: &none },
            Job { after: &[1], calls: 1, choices: &[] },
        ];
        let found = allocate(&jobs, &[1, 1, 1], u32::MAX);
        assert_eq!((found.length.as_secs(), agents(&found)), (2, vec![Some(2), Some(1), None]));
        assert_eq!(allocate(&[], &[], 0), Allocation::default());
    }

    /// Jobs with up to two predecessors and up to three choices of four agents.
    fn plans() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<Vec<Choice>>, Vec<u32>)> {
        let job = (
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            prop::collection::vec((0u32..4, 0u64..9, 0u32..20), 1..4),
            1u32..3,
        );
        prop::collection::vec(job, 1..7).prop_map(|jobs| {
            let (mut after, mut choices, mut calls) = (Vec::new(), Vec::new(), Vec::new());
            for (n, (before, ways, count)) in jobs.into_iter().enumerate() {
                let mut before: Vec<u32> =
                    before.iter().filter(|_| n > 0).map(|i| i.index(n) as u32).collect();
                before.sort_unstable();
                before.dedup();
                after.push(before);
                choices.push(ways.into_iter().map(|(a, d, c)| choice(a, d, c)).collect());
                calls.push(count);
            }
            (after, choices, calls)
        })
    }

    fn jobs<'a>(after: &'a [Vec<u32>], choices: &'a [Vec<Choice>], calls: &[u32]) -> Vec<Job<'a>> {
        let of = after.iter().zip(choices).zip(calls);
        of.map(|((after, choices), calls)| Job { after, calls: *calls, choices }).collect()
    }

    /// Length and cost with these choices when nothing has to wait for an agent.
    fn weigh(jobs: &[Job<'_>], picks: &[usize]) -> (Duration, f64) {
        let mut done = vec![Duration::ZERO; jobs.len()];
        let mut cost = 0.0;
        for (n, job) in jobs.iter().enumerate() {
            let start = job.after.iter().map(|b| done[*b as usize]).max().unwrap_or_default();
            let choice = &job.choices[picks[n]];
            done[n] = start + choice.duration.unwrap();
            cost += choice.cost * f64::from(job.calls);
        }
        (done.into_iter().max().unwrap(), cost)
    }

    /// Every combination of choices.
    fn every(jobs: &[Job<'_>]) -> Vec<Vec<usize>> {
        jobs.iter().fold(vec![vec![]], |all, job| {
            let longer = |picks: &Vec<usize>| {
                (0..job.choices.len()).map(|c| [&picks[..], &[c]].concat()).collect::<Vec<_>>()
            };
            all.iter().flat_map(longer).collect()
        })
    }

    proptest! {
        /// Against brute force: no assignment is shorter; among the shortest none is cheaper than the cheapest, and the
        /// one found is at most as dear as giving everything to the fastest.
        #[test]
        fn no_assignment_has_a_shorter_critical_path((after, choices, calls) in plans()) {
            let jobs = jobs(&after, &choices, &calls);
            let found = allocate(&jobs, &[100; 4], u32::MAX);
            let all: Vec<(Duration, f64)> = every(&jobs).iter().map(|picks| weigh(&jobs, picks)).collect();
            let shortest = all.iter().map(|(length, _)| *length).min().unwrap();
            prop_assert_eq!(found.length, shortest);
            let cheapest =
                all.iter().filter(|(l, _)| *l == shortest).map(|(_, c)| *c).fold(f64::INFINITY, f64::min);
            prop_assert!(found.cost >= cheapest);
            let fastest: f64 = jobs.iter().map(|job| {
                let best = job.choices.iter().map(|c| c.duration).min().unwrap();
                let costs = job.choices.iter().filter(|c| c.duration == best).map(|c| c.cost);
                costs.fold(f64::INFINITY, f64::min) * f64::from(job.calls)
            }).sum();
            prop_assert!(found.cost <= fastest, "{} and {fastest}", found.cost);
            let picks: Vec<usize> = found.jobs.iter().map(|j| j.choice.unwrap() as usize).collect();
            prop_assert_eq!(weigh(&jobs, &picks), (found.length, found.cost));
            prop_assert_eq!(allocate(&jobs, &[100; 4], u32::MAX), found.clone());
            // A job alone that is later by its slack makes nothing longer.
            for late in 0..jobs.len() {
                let mut done = vec![Duration::ZERO; jobs.len()];
                for (n, job) in jobs.iter().enumerate() {
                    let start = job.after.iter().map(|b| done[*b as usize]).max().unwrap_or_default();
                    let slack = if n == late { found.jobs[n].slack } else { Duration::ZERO };
                    done[n] = start + job.choices[picks[n]].duration.unwrap() + slack;
                }
                prop_assert!(done.into_iter().max().unwrap() <= found.length);
            }
        }

        /// However tight the capacities: nothing begins before what it waits for has ended, and nobody is ever given more
        /// calls at once than it takes.
        #[test]
        fn no_capacity_is_exceeded(
            (after, choices, calls) in plans(),
            capacities in prop::collection::vec(1u32..4, 4),
            calls_max in 1u32..6,
        ) {
            let jobs = jobs(&after, &choices, &calls);
            let found = allocate(&jobs, &capacities, calls_max);
            let shortest = allocate(&jobs, &[100; 4], u32::MAX).length;
            prop_assert!(found.length >= shortest);
            let agent = |n: usize| jobs[n].choices[found.jobs[n].choice.unwrap() as usize].agent;
            let width = |n: usize| calls[n].min(capacities[agent(n) as usize]).min(calls_max);
            for (n, job) in jobs.iter().enumerate() {
                let own = &found.jobs[n];
                for before in job.after {
                    prop_assert!(own.start >= found.jobs[*before as usize].finish);
                }
                let at_once = |same: &dyn Fn(usize) -> bool| -> u32 {
                    let runs = |m: &usize| {
                        let other = &found.jobs[*m];
                        other.start <= own.start && own.start < other.finish
                    };
                    (0..jobs.len()).filter(runs).filter(|m| same(*m)).map(width).sum()
                };
                prop_assert!(at_once(&|m| agent(m) == agent(n)) <= capacities[agent(n) as usize]);
                prop_assert!(at_once(&|_| true) <= calls_max);
            }
            let spent: f64 = found.jobs.iter().map(|j| j.cost).sum();
            prop_assert!((spent - found.cost).abs() < 1e-9);
        }
    }
}
