package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/admin"
)

// fake is a sidecar that is as somebody says.
type fake struct {
	status sidecar.Status
	asked  atomic.Int32
}

func (f *fake) Status(context.Context) sidecar.Status {
	f.asked.Add(1)
	return f.status
}

func get(t *testing.T, a *admin.Admin, path string) (int, string) {
	rec := httptest.NewRecorder()
	a.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

type ready struct {
	Ready   bool
	Reasons []sidecar.Trouble
}

func readyz(t *testing.T, a *admin.Admin) (int, []string) {
	status, body := get(t, a, "/readyz")
	var r ready
	require.NoError(t, json.Unmarshal([]byte(body), &r))
	require.Equal(t, status == 200, r.Ready)
	require.NotNil(t, r.Reasons)
	codes := []string{}
	for _, reason := range r.Reasons {
		require.NotEmpty(t, reason.Detail)
		codes = append(codes, reason.Code)
	}
	return status, codes
}

func TestReadiness(t *testing.T) {
	a := admin.New("v1")
	alive := func() {
		status, _ := get(t, a, "/livez")
		require.Equal(t, 200, status, "it lives whatever it can do")
	}
	status, codes := readyz(t, a)
	require.Equal(t, 503, status)
	require.Equal(t, []string{"starting"}, codes)
	alive()

	s := &fake{status: sidecar.Status{Instance: "https://a.example", NotReady: []sidecar.Trouble{}}}
	a.Watch(s)
	status, codes = readyz(t, a)
	require.Equal(t, 200, status)
	require.Empty(t, codes)
	for range 10 {
		readyz(t, a)
		get(t, a, "/metrics")
		get(t, a, "/status")
	}
	require.EqualValues(t, 1, s.asked.Load(), "who asks often does not cost more")

	a.Drain()
	status, codes = readyz(t, a)
	require.Equal(t, 503, status, "at once, whatever was remembered")
	require.Equal(t, []string{"draining"}, codes)
	alive()

	b := admin.New("v1")
	b.Watch(&fake{status: sidecar.Status{Instance: "https://a.example", NotReady: []sidecar.Trouble{{Code: "log_unchecked", Detail: "x"}, {Code: "disk_low", Detail: "y"}}}})
	status, codes = readyz(t, b)
	require.Equal(t, 503, status)
	require.Equal(t, []string{"log_unchecked", "disk_low"}, codes)
	for _, path := range []string{"/", "/debug/pprof/", "/waxwing/v1/account"} {
		status, _ := get(t, b, path)
		require.Equal(t, 404, status, path)
	}
}

// TestMetrics: what is there has the form that Prometheus asks for, says what has happened, and has no label that a stranger could make.
func TestMetrics(t *testing.T) {
	a := admin.New("v1.2.3")
	a.Watch(&fake{status: sidecar.Status{Instance: "https://a.example", Calls: 7, Mailboxes: 5,
		Log:        sidecar.LogStatus{Entries: 12, Served: 11, Witnessed: true, AsOf: 1700000000, Witnesses: []sidecar.Witness{{Name: "w1", Cosigned: true}, {Name: "w2"}}},
		Deliveries: sidecar.DeliveriesStatus{Waiting: 9, InFlight: 2, Held: 3, Dead: 4, Oldest: 60},
		Disk:       sidecar.DiskStatus{Database: 1000, Journal: 20, Free: 5000},
	}})
	a.Answered("POST /waxwing/users/{name}/inbox", 401, "signature_invalid", 3*time.Millisecond)
	a.Answered("none", 404, "not_found", 0)
	for i := range 1000 {
		a.Answered("none", 404, fmt.Sprintf("made_up_%d", i), 0)
	}
	a.Tried("delivered")
	status, text := get(t, a, "/metrics")
	require.Equal(t, 200, status)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	for _, line := range []string{
		`waxwingd_requests_total{method="POST",route="/waxwing/users/{name}/inbox",status="401"} 1`,
		`waxwingd_refusals_total{code="signature_invalid"} 1`,
		`waxwingd_refusals_total{code="other"} 1000`,
		`waxwingd_request_duration_seconds_count{method="POST",route="/waxwing/users/{name}/inbox"} 1`,
		`waxwingd_delivery_attempts_total{outcome="delivered"} 1`,
		`waxwingd_delivery_attempts_total{outcome="dead"} 0`,
		`waxwingd_deliveries{state="waiting"} 7`, `waxwingd_deliveries{state="in_flight"} 2`, `waxwingd_deliveries{state="dead"} 4`,
		`waxwingd_deliveries_held 3`, `waxwingd_deliveries_oldest_seconds 60`,
		`waxwingd_log_entries 12`, `waxwingd_log_served_entries 11`, `waxwingd_log_witnesses_missing 1`, `waxwingd_log_witnessed_timestamp_seconds 1.7e+09`,
		`waxwingd_mailbox_items 5`, `waxwingd_requests_in_flight 7`, `waxwingd_database_bytes 1000`, `waxwingd_disk_free_bytes 5000`, `waxwingd_ready 1`,
		`waxwingd_build_info{version="v1.2.3"} 1`,
	} {
		require.Contains(t, text, "\n"+line+"\n")
	}
	require.Contains(t, text, "\ngo_goroutines ")
	require.NotContains(t, text, "a.example")
	require.NotContains(t, text, "made_up")
}
