package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waxwing-dm/waxwing/sidecar"
)

// A metrics has numbers with few labels, each of a small closed set: routes as patterns, statuses, codes of refusals. An actor, a host or an id is
// never one.
type metrics struct {
	registry *prometheus.Registry
	calls    *prometheus.CounterVec
	took     *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	tries    *prometheus.CounterVec
}

// codes of refusals that are counted by themselves; the rest are "other". A code may have come from another server, and no stranger makes
// labels here.
var codes = []string{
	"signature_missing", "signature_malformed", "signature_invalid", "signature_expired", "digest_required", "digest_mismatch",
	"actor_key_mismatch", "key_unavailable", "origin_mismatch", "activity_invalid", "json_invalid", "mls_malformed", "too_large", "id_conflict",
	"no_such_recipient", "mailbox_full", "consent_required", "stranger_limited", "rate_limited", "busy", "storage_full", "store_busy", "store_damaged", "internal",
	"log_unchecked", "log_stopped", "not_witnessed", "version_conflict", "epoch_stale", "not_member", "erased", "not_found", "method_not_allowed",
}

// Calls that wait for news end after half a minute.
var durations = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newMetrics(version string, a *Admin) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxwingd_requests_total",
			Help: "Calls that were answered, by route and status."}, []string{"method", "route", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "waxwingd_request_duration_seconds",
			Help: "How long the answers took; GET of a mailbox waits for news.", Buckets: durations}, []string{"method", "route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxwingd_refusals_total",
			Help: "Calls that were refused, by the code of the problem; the signature_ and digest_ ones are of bad signatures."}, []string{"code"}),
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waxwingd_delivery_attempts_total",
			Help: "Tries to deliver to another server, by how they ended."}, []string{"outcome"}),
	}
	for _, end := range []string{"delivered", "retried", "aside", "dead"} {
		m.tries.WithLabelValues(end)
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "waxwingd_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version}},
		func() float64 { return 1 })
	m.registry.MustRegister(m.calls, m.took, m.refused, m.tries, build, gauges{a},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Answered is that of [sidecar.Observer].
func (a *Admin) Answered(route string, status int, code string, took time.Duration) {
	method, path, ok := strings.Cut(route, " ")
	if !ok {
		method, path = "any", route
	}
	a.metrics.calls.WithLabelValues(method, path, strconv.Itoa(status)).Inc()
	a.metrics.took.WithLabelValues(method, path).Observe(took.Seconds())
	if code != "" {
		if !slices.Contains(codes, code) {
			code = "other"
		}
		a.metrics.refused.WithLabelValues(code).Inc()
	}
}

// Tried is that of [sidecar.Observer].
func (a *Admin) Tried(end string) { a.metrics.tries.WithLabelValues(end).Inc() }

// gauges are made of a status when somebody asks.
type gauges struct{ admin *Admin }

func (gauges) Describe(out chan<- *prometheus.Desc) {
	for _, g := range all {
		out <- g.desc
	}
	out <- deliveries
}

func (g gauges) Collect(out chan<- prometheus.Metric) {
	r := g.admin.Report(context.Background())
	for _, one := range all {
		if v, ok := one.value(r); ok {
			out <- prometheus.MustNewConstMetric(one.desc, prometheus.GaugeValue, v)
		}
	}
	for state, n := range map[string]int64{
		"waiting": r.Status.Deliveries.Waiting - r.Status.Deliveries.InFlight, "in_flight": r.Status.Deliveries.InFlight, "dead": r.Status.Deliveries.Dead,
	} {
		out <- prometheus.MustNewConstMetric(deliveries, prometheus.GaugeValue, float64(max(n, 0)), state)
	}
}

var deliveries = prometheus.NewDesc("waxwingd_deliveries", "Deliveries to other servers that are kept, by state; dead ones were given up within 30 days.", []string{"state"}, nil)

// A gauge is left out when there is nothing to say.
type gauge struct {
	desc  *prometheus.Desc
	value func(Report) (v float64, ok bool)
}

func always(name, help string, value func(sidecar.Status) int64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), func(r Report) (float64, bool) { return float64(value(r.Status)), r.Status.Instance != "" }}
}

var all = []gauge{
	{prometheus.NewDesc("waxwingd_ready", "1 if calls should come here; /readyz has the reasons if not.", nil, nil), func(r Report) (float64, bool) {
		if r.Ready {
			return 1, true
		}
		return 0, true
	}},
	{prometheus.NewDesc("waxwingd_log_witnessed_timestamp_seconds", "When enough witnesses had seen what of the log is served; alert if it is hours ago.", nil, nil),
		func(r Report) (float64, bool) { return float64(r.Status.Log.AsOf), r.Status.Log.AsOf > 0 }},
	{prometheus.NewDesc("waxwingd_log_witnesses_missing", "Witnesses of the policy that have not cosigned what is served.", nil, nil),
		func(r Report) (float64, bool) { return float64(missing(r.Status)), r.Status.Log.Witnessed }},
	always("waxwingd_requests_in_flight", "Calls that are being answered, those included that wait for news.", func(s sidecar.Status) int64 { return s.Calls }),
	always("waxwingd_deliveries_oldest_seconds", "How long the oldest delivery has waited.", func(s sidecar.Status) int64 { return s.Deliveries.Oldest }),
	always("waxwingd_deliveries_held", "Hosts, and single deliveries, whose next try is later.", func(s sidecar.Status) int64 { return s.Deliveries.Held }),
	always("waxwingd_log_entries", "Entries of the instance's log.", func(s sidecar.Status) int64 { return s.Log.Entries }),
	always("waxwingd_log_served_entries", "Entries of the log that lookups are answered from.", func(s sidecar.Status) int64 { return s.Log.Served }),
	always("waxwingd_mailbox_items", "Messages that wait for devices of users here.", func(s sidecar.Status) int64 { return s.Mailboxes }),
	always("waxwingd_database_bytes", "Size of the database.", func(s sidecar.Status) int64 { return s.Disk.Database }),
	always("waxwingd_database_journal_bytes", "Size of the database's write-ahead log.", func(s sidecar.Status) int64 { return s.Disk.Journal }),
	always("waxwingd_disk_free_bytes", "What is left on the disk of the data folder.", func(s sidecar.Status) int64 { return s.Disk.Free }),
}

func missing(s sidecar.Status) (n int) {
	for _, w := range s.Log.Witnesses {
		if !w.Cosigned {
			n++
		}
	}
	return n
}
