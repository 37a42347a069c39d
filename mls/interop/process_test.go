package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// The tests are a runner of our own: they play between two processes of this command what the working group's runner plays between any
// two implementations. WAXWING_INTEROP_PEERS names the addresses of other implementations, with commas between, that are to take the place
// of the second one.

const (
	serveVariable = "WAXWING_INTEROP_SERVE"
	peersVariable = "WAXWING_INTEROP_PEERS"
)

// addresses of the processes that play the members.
var addresses []string

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		main()
		return
	}
	code, err := withPeers(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the peers:", err)
		code = 1
	}
	os.Exit(code)
}

func withPeers(run func() int) (int, error) {
	ours := 2
	if others := os.Getenv(peersVariable); others != "" {
		ours, addresses = 1, strings.Split(others, ",")
	}
	for range ours {
		address, stop, err := start()
		if err != nil {
			return 0, err
		}
		defer stop()
		addresses = append([]string{address}, addresses...)
	}
	return run(), nil
}

// start this very binary again, as the command that it tests.
func start() (address string, stop func(), err error) {
	cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
	cmd.Env, cmd.Stderr = append(os.Environ(), serveVariable+"=1"), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil && err != io.EOF || !ok {
		stop()
		return "", nil, fmt.Errorf("it says %q: %w", line, err)
	}
	return address, stop, nil
}

// A peer is a process that plays members.
type peer struct {
	harness.MLSClientClient
	name   string
	suites []uint32
}

func connect(t *testing.T) []peer {
	t.Helper()
	var all []peer
	for _, address := range addresses {
		size := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage))
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), size)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		p := peer{MLSClientClient: harness.NewMLSClientClient(c)}
		name, err := p.Name(t.Context(), new(harness.NameRequest))
		require.NoError(t, err)
		known, err := p.SupportedCiphersuites(t.Context(), new(harness.SupportedCiphersuitesRequest))
		require.NoError(t, err)
		p.name, p.suites = name.Name, known.Ciphersuites
		all = append(all, p)
	}
	return all
}

// common are the suites that all know.
func common(peers []peer) []uint32 {
	list := slices.Clone(peers[0].suites)
	for _, p := range peers[1:] {
		list = slices.DeleteFunc(list, func(cs uint32) bool { return !slices.Contains(p.suites, cs) })
	}
	return list
}
