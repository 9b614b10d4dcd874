//! Metric families whose series all exist from the start.
//!
//! Every combination of label values is resolved once, when the family is registered. Counting is then an
//! index and an atomic add, with no lookup by text, and a rate over a series that has not moved yet is 0
//! instead of missing.

use std::marker::PhantomData;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

use super::labels::Label;

/// One metric for each value of a label.
pub(super) struct By<L, M> {
    series: Box<[M]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M> By<L, M> {
    fn new(series: impl FnMut(&L) -> M) -> Self {
        Self { series: L::ALL.iter().map(series).collect(), label: PhantomData }
    }

    /// Another metric for each value.
    pub(super) fn map<N>(&self, make: impl FnMut(&M) -> N) -> By<L, N> {
        By { series: self.series.iter().map(make).collect(), label: PhantomData }
    }

    pub(super) fn each(&self, visit: impl FnMut(&M)) {
        self.series.iter().for_each(visit);
    }

    pub(super) fn at(&self, label: L) -> &M {
        &self.series[label.index()]
    }
}

/// One counter for each pair of label values.
pub(super) type CountersByPair<A, B> = By<A, By<B, IntCounter>>;

/// Registers families under their names.
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    pub(super) fn counters<L: Label>(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<By<L, IntCounter>> {
        let family = self.add(IntCounterVec::new(Opts::new(name, help), &[label])?)?;
        Ok(By::new(|value: &L| family.with_label_values(&[value.as_str()])))
    }

    pub(super) fn counters_by_pair<A: Label, B: Label>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> Result<CountersByPair<A, B>> {
        let family = self.add(IntCounterVec::new(Opts::new(name, help), &labels)?)?;
        Ok(By::new(|a: &A| By::new(|b: &B| family.with_label_values(&[a.as_str(), b.as_str()]))))
    }

    /// Like [`Families::counters_by_pair`], without the series in which both values are equal.
    pub(super) fn counters_by_change<L: Label>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
    ) -> Result<CountersByPair<L, L>> {
        let family = self.add(IntCounterVec::new(Opts::new(name, help), &labels)?)?;
        let series = By::new(|a: &L| By::new(|b: &L| family.with_label_values(&[a.as_str(), b.as_str()])));
        for value in L::ALL {
            family.remove_label_values(&[value.as_str(), value.as_str()])?;
        }
        Ok(series)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    /// A gauge that holds parts of a second too.
    pub(super) fn gauge_of_seconds(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    pub(super) fn gauges<L: Label>(&self, name: &str, help: &str, label: &str) -> Result<By<L, IntGauge>> {
        let family = self.add(IntGaugeVec::new(Opts::new(name, help), &[label])?)?;
        Ok(By::new(|value: &L| family.with_label_values(&[value.as_str()])))
    }

    /// A gauge that is always 1 and says something by its labels.
    pub(super) fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<()> {
        let opts =
            labels.iter().fold(Opts::new(name, help), |opts, (name, value)| opts.const_label(*name, *value));
        self.add(IntGauge::with_opts(opts)?)?.set(1);
        Ok(())
    }

    /// `buckets`: upper bounds, rising; `+Inf` is added by itself.
    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    pub(super) fn histograms<L: Label>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<By<L, Histogram>> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = self.add(HistogramVec::new(opts, &[label])?)?;
        Ok(By::new(|value: &L| family.with_label_values(&[value.as_str()])))
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}
