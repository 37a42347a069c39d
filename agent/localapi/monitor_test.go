package localapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/transparency"
)

func TestLogs(t *testing.T) {
	alice := world.Person("alice")
	run, err := alice.Scan(ctx, true)
	require.NoError(t, err)
	require.True(t, run.Running)
	within(t, "the run ends", func() bool {
		l, err := alice.Logs(ctx)
		return err == nil && l.Scan.Number >= run.Number && !l.Scan.Running
	})
	logs, err := alice.Logs(ctx)
	require.NoError(t, err)
	require.Empty(t, logs.Scan.Error)
	require.NotEmpty(t, logs.Logs)
	require.True(t, logs.Logs[0].Own, "the own instance is the first that is met")
	require.Equal(t, logs.Monitor.Target, logs.Monitor.Read)
	require.Empty(t, logs.Monitor.Alarms)
	require.NotNil(t, logs.Monitor.Scanned)
	logs, err = alice.AlarmsSeen(ctx)
	require.NoError(t, err)
	require.Empty(t, logs.Monitor.Alarms)

	p, err := alice.Proof(ctx, "@bob@b.test")
	require.NoError(t, err)
	_, err = transparency.ParseAnswer(p.Answer)
	require.NoError(t, err)
	require.Equal(t, "@bob@b.test", p.Handle)
	require.Contains(t, p.Origin, "b.test/waxwing/log/")
	require.Contains(t, p.Own, "a.test/waxwing/log/")
	_, err = alice.Proof(ctx, "@nobody@b.test")
	requireProblem(t, err, 404, "no_such_recipient")
	_, err = alice.Proof(ctx, "bob")
	requireProblem(t, err, 422, "handle_invalid")
}
