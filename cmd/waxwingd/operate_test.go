package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/sidecar/admin"
)

// TestFirstMinutes does what init says to do.
func TestFirstMinutes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir := t.TempDir()
	file, data := filepath.Join(dir, "waxwingd.toml"), filepath.Join(dir, "data")
	var out output
	require.ErrorContains(t, run(ctx, &out, "init", "--config", file), "--instance")
	require.ErrorContains(t, run(ctx, &out, "init", "--config", file, "--instance", "a.example"), "not an origin")
	require.NoFileExists(t, file)
	require.NoError(t, run(ctx, &out, "init", "--config", file, "--instance", "https://a.example", "--data", data, "--listen", "127.0.0.1:0"))
	for _, step := range []string{"waxwingd serve --config " + file, "waxwingd account add", "waxwingd status", "https://a.example", "127.0.0.1:0"} {
		require.Contains(t, out.String(), step)
	}
	info, err := os.Stat(data)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	require.ErrorContains(t, run(ctx, &out, "init", "--config", file, "--instance", "https://b.example"), "left as it is")
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, written, again)

	out = output{}
	require.NoError(t, run(ctx, &out, "config", "check", "--config", file))
	require.Contains(t, out.String(), "in order")
	require.Contains(t, out.String(), "nobody witnesses")
	require.Regexp(t, `instance = 'https://a\.example' +\S+waxwingd\.toml line \d+`, out.String())
	require.ErrorContains(t, run(ctx, new(output), "config", "check"), "stand-alone")

	var served output
	done := make(chan error, 1)
	go func() { done <- run(ctx, &served, "serve", "--config", file, "--log-format", "json") }()
	where := regexp.MustCompile(`"admin":"([^"]+)"`)
	require.Eventually(t, func() bool { return strings.Contains(served.String(), `"msg":"serving"`) }, 10*time.Second, 5*time.Millisecond)
	for line := range strings.Lines(served.String()) {
		require.True(t, json.Valid([]byte(line)), line)
	}
	require.NoError(t, run(ctx, new(output), "account", "add", "alice", "--config", file))
	address := where.FindStringSubmatch(served.String())[1]
	require.Eventually(t, func() bool {
		out = output{}
		return run(ctx, &out, "status", "--admin-listen", address) == nil
	}, 10*time.Second, 50*time.Millisecond)
	for _, words := range []string{"https://a.example", "yes, it takes calls", "1 entry; nobody witnesses the log", "nothing waits for other servers", "nothing waits for devices", "To do: choose witnesses"} {
		require.Contains(t, out.String(), words)
	}
	var report admin.Report
	out = output{}
	require.NoError(t, run(ctx, &out, "status", "--admin-listen", address, "--json"))
	require.NoError(t, json.Unmarshal([]byte(out.String()), &report))
	require.EqualValues(t, 1, report.Status.Log.Entries)
	res, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, 200, res.StatusCode)
	cancel()
	require.NoError(t, <-done)
	require.ErrorContains(t, run(context.Background(), new(output), "status", "--admin-listen", address), "is the sidecar running")
}

func TestSettingsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.toml")
	require.NoError(t, os.WriteFile(file, []byte("standalone = true\nwitneses = 'x'\n"), 0o600))
	for _, command := range []string{"serve", "config check", "status", "erase alice", "account add alice"} {
		err := run(context.Background(), new(output), append(strings.Fields(command), "--config", file)...)
		require.ErrorContains(t, err, "line 2: witneses is no key: did you mean witnesses?", command)
	}
	err := run(context.Background(), new(output), "serve", "--standalone", "--instance", "https://a.example", "--data", t.TempDir(), "--admin-listen", "203.0.113.1:1")
	require.ErrorContains(t, err, "admin_listen", "an address of somebody else")
}

// TestStatusSaysWhatToDo has one thing wrong at a time.
func TestStatusSaysWhatToDo(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good := func() admin.Report {
		return admin.Report{Version: "v1", Started: now.Add(-3 * time.Hour), Ready: true, Status: sidecar.Status{
			Instance: "https://a.example", Disk: sidecar.DiskStatus{Database: 5 << 20, Free: 50 << 30},
			Log: sidecar.LogStatus{Entries: 4, Served: 4, Witnessed: true, AsOf: now.Unix() - 600, Witnesses: []sidecar.Witness{{Name: "w.example", Cosigned: true, At: now.Unix() - 600}}},
		}}
	}
	for name, c := range map[string]struct {
		change func(*sidecar.Status)
		want   []string
	}{
		"well": {func(*sidecar.Status) {}, []string{"4 entries, all witnessed as of 10 min ago", "w.example: cosigned 10 min ago", "for 3 h", "5120 KiB", "50 GiB"}},
		"starting": {func(s *sidecar.Status) {
			*s = sidecar.Status{NotReady: []sidecar.Trouble{{Code: "starting", Detail: "it opens"}}}
		}, []string{"no: it opens (starting)"}},
		"unchecked":     {func(s *sidecar.Status) { s.NotReady = []sidecar.Trouble{{Code: "log_unchecked", Detail: "x"}} }, []string{"To do: see that the witnesses can be reached"}},
		"stopped":       {func(s *sidecar.Status) { s.NotReady = []sidecar.Trouble{{Code: "log_stopped", Detail: "x"}} }, []string{"To do: the log must not go on"}},
		"failing":       {func(s *sidecar.Status) { s.NotReady = []sidecar.Trouble{{Code: "store_failing", Detail: "x"}} }, []string{"To do: see that the data folder"}},
		"full":          {func(s *sidecar.Status) { s.NotReady = []sidecar.Trouble{{Code: "disk_low", Detail: "x"}} }, []string{"To do: make room"}},
		"little":        {func(s *sidecar.Status) { s.Disk.Free = 500 << 20 }, []string{"500 MiB are free", "To do: less than 1 GiB"}},
		"alone":         {func(s *sidecar.Status) { s.Log = sidecar.LogStatus{Entries: 1} }, []string{"nobody witnesses", "To do: choose witnesses"}},
		"stale":         {func(s *sidecar.Status) { s.Log.AsOf -= 7 * 3600 }, []string{"To do: the log has not been witnessed for 7 h"}},
		"behind":        {func(s *sidecar.Status) { s.Log.Served, s.Log.Waiting = 3, "1 of 1 witnesses is missing" }, []string{"up to 3", "1 of 1 witnesses"}},
		"not cosigned":  {func(s *sidecar.Status) { s.Log.Witnesses[0] = sidecar.Witness{Name: "w.example"} }, []string{"w.example: has not cosigned"}},
		"old delivery":  {func(s *sidecar.Status) { s.Deliveries = sidecar.DeliveriesStatus{Waiting: 2, Oldest: 100_000, Held: 1} }, []string{"2 deliveries wait for other servers, the oldest for 27 h", "next try: 1 host", "To do: a server has not taken"}},
		"dead delivery": {func(s *sidecar.Status) { s.Deliveries.Dead = 3 }, []string{"given up in the last 30 days: 3"}},
	} {
		r := good()
		c.change(&r.Status)
		var out output
		require.NoError(t, printStatus(&out, r, now))
		for _, want := range c.want {
			require.Contains(t, out.String(), want, name)
		}
		if name == "well" {
			require.NotContains(t, out.String(), "To do")
		}
	}
}
