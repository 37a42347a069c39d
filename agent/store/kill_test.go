package store_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/store"
	"github.com/waxwing-dm/waxwing/device"
)

// With these set, the test binary is the process that gets killed.
const (
	childPath = "WAXWING_STORE_TEST_PATH"
	childMode = "WAXWING_STORE_TEST_MODE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		if err := child(path, os.Getenv(childMode)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child says "ready" in the middle of a transaction or after it, and waits for its end.
func child(path, mode string) error {
	s, err := store.Open(path, passphrase)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(s) // its lock is gone with it
	wait := func() {
		fmt.Println("ready")
		time.Sleep(time.Hour)
	}
	err = s.Update(func(tx device.Tx) error {
		if err := tx.Delete("CANARY-bucket", "CANARY-key"); err != nil {
			return err
		}
		value := []byte(strings.Repeat("CANARY-value", 2000))
		for i := range 300 { // more than SQLite keeps in memory
			if err := tx.Put("CANARY-bucket", fmt.Sprint("CANARY-key", i), value); err != nil {
				return err
			}
		}
		if _, err := tx.Append("CANARY-log", []byte("second")); err != nil {
			return err
		}
		if mode == "middle" {
			wait()
		}
		return nil
	})
	if err != nil {
		return err
	}
	wait()
	return nil
}

// killed runs a child until it is ready, lets the test look, and kills it.
func killed(t *testing.T, path, mode string, look func(pid int)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path, childMode+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if the test ends early
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	look(cmd.Process.Pid)
	require.NoError(t, cmd.Process.Kill())
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func TestKilledInTheMiddle(t *testing.T) {
	s, path := create(t)
	plant(t, s, 12)
	require.NoError(t, s.Close())
	killed(t, path, "middle", func(pid int) {
		require.Greater(t, findCanaries(t, path)["store.db-wal"], 1<<20, "the transaction has not reached the disk")
		_, err := store.Open(path, passphrase)
		require.ErrorIs(t, err, store.ErrBusy)
		require.ErrorContains(t, err, fmt.Sprintf("process %d", pid))
	})
	view(t, open(t, path), func(tx device.Tx) {
		require.Equal(t, []string{"CANARY-key=CANARY-value"}, all(t, tx, "CANARY-bucket"))
		require.Equal(t, []string{"1=CANARY-entry"}, entries(t, tx, "CANARY-log", 0, 10))
	})
	findCanaries(t, path)
}

func TestKilledAfterwards(t *testing.T) {
	s, path := create(t)
	plant(t, s, 12)
	require.NoError(t, s.Close())
	killed(t, path, "after", func(int) {})
	view(t, open(t, path), func(tx device.Tx) {
		require.Len(t, all(t, tx, "CANARY-bucket"), 300, "what was acknowledged is gone")
		require.Equal(t, []string{"1=CANARY-entry", "2=second"}, entries(t, tx, "CANARY-log", 0, 10))
	})
}
