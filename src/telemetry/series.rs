//! Families of series whose labels are known beforehand: looked up once, then found by index.

use std::marker::PhantomData;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::telemetry::labels::Label;

/// A counter for each value of a label.
#[derive(Clone, Debug)]
pub(super) struct Counters<L> {
    series: Box<[IntCounter]>,
    label: PhantomData<L>,
}

impl<L: Label> Counters<L> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str, label: &str) -> Self {
        Self::of(&counters(registry, name, help, &[label]), |value| vec![value])
    }

    pub(super) fn of<'a>(
        family: &IntCounterVec,
        values: impl Fn(&'static str) -> Vec<&'a str>,
    ) -> Self {
        let series = L::ALL.iter().map(|l| family.with_label_values(&values(l.value()))).collect();
        Self { series, label: PhantomData }
    }

    pub(super) fn get(&self, label: L) -> &IntCounter {
        &self.series[label.index()]
    }
}

/// A counter for each pair of two labels' values.
#[derive(Debug)]
pub(super) struct Grid<A, B> {
    rows: Box<[Counters<B>]>,
    label: PhantomData<A>,
}

impl<A: Label, B: Label> Grid<A, B> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str, labels: [&str; 2]) -> Self {
        let family = counters(registry, name, help, &labels);
        let rows = A::ALL.iter().map(|a| Counters::of(&family, |b| vec![a.value(), b])).collect();
        Self { rows, label: PhantomData }
    }

    pub(super) fn get(&self, a: A, b: B) -> &IntCounter {
        self.rows[a.index()].get(b)
    }
}

/// A histogram of seconds for each value of a label.
#[derive(Debug)]
pub(super) struct Timings<L> {
    series: Box<[Histogram]>,
    label: PhantomData<L>,
}

impl<L: Label> Timings<L> {
    pub(super) fn new(
        registry: &Registry,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Self {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = register(registry, HistogramVec::new(opts, &[label]));
        let series = L::ALL.iter().map(|l| family.with_label_values(&[l.value()])).collect();
        Self { series, label: PhantomData }
    }

    pub(super) fn get(&self, label: L) -> &Histogram {
        &self.series[label.index()]
    }
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help))
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help))
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(opts))
}

pub(super) fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<M>,
) -> M {
    let metric = made.expect("names and buckets are constants, and a test makes them all");
    registry.register(Box::new(metric.clone())).expect("every name is registered once");
    metric
}
