//! Where the CPU time goes that a column adds over direct.
//!
//! Told by the kernel: which process, and program or kernel. Reckoned with prices that were measured alone (`calibrate`): the crypto in the programs, and
//! the wake-ups in the kernel's part. What cannot be told apart: HTTP and QUIC within a program, and, of the kernel's part, sockets,
//! veth, and softirqs that ran in a process's time.

use serde::Serialize;

use super::calibrate::Prices;
use super::column::Column;
use super::cost::Part;
use super::measure::Point;

/// µs per answer, over direct. The sum is what is added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stages {
    /// Programs at both ends, without crypto: proxies or edges, and what client and server need more than with direct.
    pub edge_us: f64,
    /// The kernel's part of all processes and softirq threads, without wake-ups.
    pub wire_us: f64,
    /// Gateways' dataplanes, their program only.
    pub gateway_us: f64,
    /// Control planes.
    pub control_us: f64,
    /// Sealing and opening, reckoned.
    pub crypto_us: f64,
    /// Sleeping and waking up, reckoned; its price is the upper end.
    pub wake_ups_us: f64,
    /// All of these.
    pub added_us: f64,
}

impl Stages {
    /// Of `point` of `column`, over `direct` at the same load.
    pub fn of(column: Column, point: &Point, direct: &Point, prices: &Prices) -> Self {
        let crypto_us = if column == Column::Direct {
            0.0
        } else {
            prices.crypto_us
        };
        let program = |point: &Point, parts: &[Part]| -> f64 {
            let of = |part| point.parts.get(part).copied().unwrap_or_default();
            parts
                .iter()
                .map(|part| of(part).cpu_us - of(part).kernel_us)
                .sum()
        };
        let all = |point: &Point| -> (f64, f64) {
            // A thread of the kernel has no program: all of it is the kernel's.
            let kernel = point.parts.iter().map(|(part, figures)| match part {
                Part::Softirq => figures.cpu_us,
                Part::Control => 0.0,
                _ => figures.kernel_us,
            });
            let wake_ups = point.parts.values().map(|figures| figures.wake_ups);
            (kernel.sum(), wake_ups.sum())
        };
        let ends = [Part::Client, Part::Server, Part::Proxy];
        let ((kernel, woken), (kernel_before, woken_before)) = (all(point), all(direct));
        let kernel_us = kernel - kernel_before;
        let wake_ups_us = (woken - woken_before) * prices.wake_up_us;
        Self {
            edge_us: program(point, &ends) - program(direct, &ends) - crypto_us,
            wire_us: kernel_us - wake_ups_us,
            gateway_us: program(point, &[Part::Gateway]),
            control_us: point.parts.get(&Part::Control).map_or(0.0, |f| f.cpu_us),
            crypto_us,
            wake_ups_us,
            added_us: point.cpu_us - direct.cpu_us,
        }
    }

    /// The stages one by one, with their names.
    pub fn all(&self) -> [(&'static str, f64); 6] {
        [
            ("edge", self.edge_us),
            ("wire", self.wire_us),
            ("gateway", self.gateway_us),
            ("control", self.control_us),
            ("crypto", self.crypto_us),
            ("wake-ups", self.wake_ups_us),
        ]
    }

    /// The mean of some.
    pub fn mean(all: &[Self]) -> Option<Self> {
        let of =
            |field: fn(&Self) -> f64| all.iter().map(field).sum::<f64>() / all.len().max(1) as f64;
        (!all.is_empty()).then(|| Self {
            edge_us: of(|s| s.edge_us),
            wire_us: of(|s| s.wire_us),
            gateway_us: of(|s| s.gateway_us),
            control_us: of(|s| s.control_us),
            crypto_us: of(|s| s.crypto_us),
            wake_ups_us: of(|s| s.wake_ups_us),
            added_us: of(|s| s.added_us),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::measure::PerAnswer;

    fn point(parts: &[(Part, f64, f64, f64)]) -> Point {
        Point {
            cpu_us: parts.iter().map(|p| p.1).sum(),
            parts: parts
                .iter()
                .map(|(part, cpu_us, kernel_us, wake_ups)| {
                    let figures = PerAnswer {
                        cpu_us: *cpu_us,
                        kernel_us: *kernel_us,
                        wake_ups: *wake_ups,
                    };
                    (*part, figures)
                })
                .collect(),
            ..Point::default()
        }
    }

    #[test]
    fn stages_are_what_is_added_and_nothing_else() {
        let direct = point(&[
            (Part::Client, 10.0, 6.0, 1.0),
            (Part::Server, 10.0, 6.0, 1.0),
        ]);
        let ours = point(&[
            (Part::Client, 11.0, 6.0, 1.0),
            (Part::Server, 10.0, 6.0, 1.0),
            (Part::Proxy, 30.0, 12.0, 2.0),
            (Part::Gateway, 8.0, 5.0, 1.5),
            (Part::Control, 0.5, 0.25, 0.0),
            (Part::Softirq, 2.0, 1.0, 0.0),
        ]);
        let prices = Prices {
            wake_up_us: 2.0,
            crypto_us: 1.5,
        };
        let stages = Stages::of(Column::Edge, &ours, &direct, &prices);
        assert!((stages.added_us - 41.5).abs() < 1e-9);
        let sum: f64 = stages.all().iter().map(|s| s.1).sum();
        assert!((sum - stages.added_us).abs() < 1e-9, "{stages:?}");
        assert!((stages.wake_ups_us - 7.0).abs() < 1e-9);
        assert!((stages.gateway_us - 3.0).abs() < 1e-9);
        assert!((stages.wire_us - 12.0).abs() < 1e-9);
        let nothing = Stages::of(Column::Direct, &direct, &direct, &prices);
        assert_eq!(nothing, Stages::default());
        assert_eq!(Stages::mean(&[stages, stages]), Some(stages));
        assert_eq!(Stages::mean(&[]), None);
    }
}
