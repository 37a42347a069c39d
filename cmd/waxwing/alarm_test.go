package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/localapi"
)

const alarmed = `{"logs":[{"instance":"https://a.test","own":true,"origin":"a.test/waxwing/log/x","key":"a.test/waxwing/log/x+1+y","size":9,"root":"00"}],
"monitor":{"instance":"https://a.test","started":2,"read":7,"target":9,"scanned":"2026-11-21T08:00:00Z","trouble":"it is\u001b[2J short (check N2)",
"since":"2026-11-21T09:00:00Z","more":3,"alarms":[
{"code":"list_reset","detail":"seen before","help":"nothing","devices":[],"told":"2026-11-20T08:00:00Z","seen":true},
{"code":"list_reset","detail":"replaced by \u202eevil","help":"ask your admin","index":5,"devices":["00"],"told":"2026-11-21T08:00:00Z","seen":false}]},
"scan":{"number":4,"running":false,"from_start":false,"done":0,"total":0,"error":"it is short (check N2)"}}`

// fake is an agent that knows of an alarm.
func fake(t *testing.T) *cli {
	c := &cli{home: t.TempDir()}
	l, err := localapi.ListenUnix(localapi.SocketPath(c.home))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/logs", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, alarmed) })
	mux.HandleFunc("/v1/logs/scan", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, `{"number":4,"running":true}`) })
	mux.HandleFunc("/v1/devices", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"devices":[{"id":"00","this":false}]}`)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return c
}

func execute(t *testing.T, cmd *cobra.Command, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err = cmd.ExecuteContext(context.Background())
	return out.String(), errs.String(), err
}

// TestAlarmsAreLoud: an alarm that was not seen is on the page about logs, ends the monitor with an error, and comes before other lists; in
// plain letters, for what it says came through an instance.
func TestAlarmsAreLoud(t *testing.T) {
	c := fake(t)
	out, _, err := execute(t, c.newLog(), "show")
	require.NoError(t, err)
	require.Contains(t, out, `ALARM: replaced by \u{202e}evil [entry 5]`+"\n    ask your admin\n")
	require.Contains(t, out, "ALARM: and 3 more changes")
	require.Contains(t, out, "it goes no further since ")
	require.Contains(t, out, " November 2026")
	require.Contains(t, out, `it is\u{1b}[2J short (check N2)`)
	require.Contains(t, out, "when you have dealt with it: waxwing log monitor --seen")
	require.NotContains(t, out, "seen before")
	out, _, err = execute(t, c.newLog(), "monitor")
	require.EqualError(t, err, "the log was not read to its end: it is short (check N2)")
	require.Contains(t, out, "ALARM")
	_, errs, err := execute(t, c.devices())
	require.NoError(t, err)
	require.Contains(t, errs, "ALARM: replaced by")
	c.json = true
	out, errs, err = execute(t, c.devices())
	require.NoError(t, err)
	require.Empty(t, errs)
	require.Contains(t, out, `"this":false`)
}
