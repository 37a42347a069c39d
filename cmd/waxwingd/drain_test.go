package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
)

// A process is waxwingd as an operator runs it.
type process struct {
	*exec.Cmd
	t             testing.TB
	log           output
	address, info string // of calls, and of the operator
}

const drained = "http://a.example"

func startProcess(t testing.TB, data string, env ...string) *process {
	p := &process{t: t, Cmd: exec.Command(os.Args[0], "serve", "--standalone", "--instance", drained, "--data", data, "--listen", "127.0.0.1:0")}
	p.Env = append(append(os.Environ(), asProgram+"=yes"), env...)
	p.Stderr = &p.log
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "msg=serving") }, 20*time.Second, 5*time.Millisecond)
	find := func(name string) string {
		return regexp.MustCompile(name + `=(\S+)`).FindStringSubmatch(p.log.String())[1]
	}
	p.address, p.info = find("listen"), find("admin")
	return p
}

// ends waits for the process and gives its error.
func (p *process) ends() error {
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-time.After(30 * time.Second):
		p.t.Fatal("it does not end")
		return nil
	}
}

func (p *process) readiness() (status int, body string) {
	res, err := http.Get("http://" + p.info + "/readyz")
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(p.t, err)
	return res.StatusCode, string(text)
}

// answering waits until so many calls have been begun.
func (p *process) answering(n int64) {
	require.Eventually(p.t, func() bool {
		report, _, err := askStatus(context.Background(), p.info)
		return err == nil && report.Status.Calls >= n
	}, 20*time.Second, 20*time.Millisecond)
}

func (p *process) client(token string) *clientapi.Client {
	return clientapi.New(drained+"/waxwing/v1", token, safehttp.New(safehttp.Config{Hosts: map[string]string{"a.example": p.address}}))
}

// login makes an account and logs a device in.
func (p *process) login(data string) (token string) {
	var out output
	require.NoError(p.t, run(context.Background(), &out, "account", "add", "alice", "--data", data))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(p.t, err)
	at := uint64(time.Now().UnixMilli())
	in, err := p.client("").Login(context.Background(), clientapi.Login{
		Account: "alice", Code: code.FindStringSubmatch(out.String())[1], SignatureKey: clientapi.Bytes(key.Public().(ed25519.PublicKey)), Time: at,
		Signature: ed25519.Sign(key, clientapi.LoginMessage("a.example", "alice", at)),
	})
	require.NoError(p.t, err)
	return in.Token
}

// work is what callers have been told that it is done.
type work struct {
	mu     sync.Mutex
	done   [][]byte // groups
	broken []error  // answers that say that something went wrong
}

// keepBusy opens conversations until nobody answers any more.
func (w *work) keepBusy(c *clientapi.Client, key []byte) {
	for {
		group := make([]byte, 32)
		_, _ = rand.Read(group)
		_, err := c.OpenConversation(context.Background(), group, key)
		var answer *problem.Problem
		w.mu.Lock()
		switch {
		case err == nil:
			w.done = append(w.done, group)
		case errors.As(err, &answer):
			w.broken = append(w.broken, err)
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func ticket(t testing.TB) []byte {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return public
}

// slowUpload begins to send a file; finish sends the rest of it and reads the answer.
func (p *process) slowUpload(token string) (finish func() (*http.Response, error)) {
	content := bytes.Repeat([]byte("slow"), 1000)
	hash := sha256.Sum256(content)
	conn, err := net.Dial("tcp", p.address)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() }) // a connection that nobody holds on to is closed by the garbage collector
	_, err = fmt.Fprintf(conn, "PUT /waxwing/v1/blobs/%s HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s",
		hex.EncodeToString(hash[:]), token, len(content), content[:100])
	require.NoError(p.t, err)
	return func() (*http.Response, error) {
		defer conn.Close()
		if _, err := conn.Write(content[100:]); err != nil {
			return nil, err
		}
		return http.ReadResponse(bufio.NewReader(conn), nil)
	}
}

// TestDrain stops the real program under traffic: what was taken is answered, what was answered is kept, nobody hears of an error.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	socket, data := filepath.Join(dir, "notify"), filepath.Join(dir, "data")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	p := startProcess(t, data, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=300000")
	requireTold(t, manager, "READY=1")
	requireTold(t, manager, "WATCHDOG=1")
	token := p.login(data)
	require.Eventually(t, func() bool { status, _ := p.readiness(); return status == 200 }, 10*time.Second, 20*time.Millisecond)

	held := make(chan error, 1)
	go func() {
		_, err := p.client(token).Mailbox(context.Background(), 0, 10, 25*time.Second)
		held <- err
	}()
	finish := p.slowUpload(token)
	p.answering(2)
	var w work
	var busy sync.WaitGroup
	for range 8 {
		busy.Go(func() { w.keepBusy(p.client(token), ticket(t)) })
	}
	require.Eventually(t, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.done) > 50 }, 20*time.Second, time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	requireTold(t, manager, "STOPPING=1")
	require.NoError(t, <-held, "who waits for news is let go, and not cut off")
	busy.Wait()
	status, why := p.readiness()
	require.Equal(t, 503, status)
	require.Contains(t, why, "draining")
	_, err = net.DialTimeout("tcp", p.address, time.Second)
	require.Error(t, err, "no new calls")
	res, err := finish()
	require.NoError(t, err, "a call that was begun comes to its end")
	require.Less(t, res.StatusCode, 300)
	require.NoError(t, p.ends())
	require.Empty(t, w.broken)
	require.NoFileExists(t, filepath.Join(data, "waxwingd.db-wal"), "the database is one file again")

	again := startProcess(t, data)
	c, other := again.client(token), ticket(t)
	for _, group := range w.done {
		_, err := c.OpenConversation(context.Background(), group, other)
		var conflict *problem.Problem
		require.ErrorAs(t, err, &conflict, "what was acknowledged is there")
		require.Equal(t, "id_conflict", conflict.Code)
	}
	require.NoError(t, again.Process.Signal(syscall.SIGTERM))
	require.NoError(t, again.ends())
}

func requireTold(t *testing.T, manager *net.UnixConn, want string) {
	require.NoError(t, manager.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 100)
	for {
		n, err := manager.Read(b)
		require.NoError(t, err, "waiting for %s", want)
		if string(b[:n]) == want {
			return
		}
		require.Equal(t, "WATCHDOG=1", string(b[:n]))
	}
}

// TestSecondSignal: who does not want to wait need not.
func TestSecondSignal(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, data)
	p.slowUpload(p.login(data)) // which would be waited for
	p.answering(1)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "stopping:") }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	start := time.Now()
	var exit *exec.ExitError
	require.ErrorAs(t, p.ends(), &exit)
	require.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
	require.Less(t, time.Since(start), 5*time.Second)
}
