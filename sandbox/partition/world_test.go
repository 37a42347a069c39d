//go:build linux

package partition_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/agent/client"
)

const (
	passphrase = "four random words here"
	behind     = "127.0.0.1:8480"
)

// A world is three instances and their people, all processes of their own.
type world struct {
	t        *testing.T
	dir      string
	net      *network
	programs map[string]*program // by host or name
	people   map[string]*client.Client
	starts   chan func() // run by one thread, at whose end the kernel kills what it has started
	ended    atomic.Bool
}

// end says that nobody need insist on anything any more.
func (w *world) end()       { w.ended.Store(true) }
func (w *world) over() bool { return w.ended.Load() }

// A program is one process, through several lives.
type program struct {
	command func() *exec.Cmd
	spawn   func(*exec.Cmd) error
	log     string

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{}
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	sweep()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", folders, os.Getpid())) // short: there is a limit on names of sockets
	require.NoError(t, err)
	w := &world{t: t, dir: dir, programs: map[string]*program{}, people: map[string]*client.Client{}, starts: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range w.starts {
			f()
		}
	}()
	w.net = newNetwork(seed, w.spawn)
	t.Cleanup(w.close)
	w.build()
	w.found()
	return w
}

// folders is how the names of our folders begin; the process follows.
const folders = "waxwing-partition-"

// sweep takes away what runs have left that were killed. Their processes and namespaces went with them.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), folders+"*"))
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folders), "-")
		if pid, err := strconv.Atoi(owner); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // another run may be doing the same
		}
	}
}

// spawn starts a process that does not outlive this one, however it ends.
func (w *world) spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	w.starts <- func() { started <- cmd.Start() }
	return <-started
}

func (w *world) close() {
	for _, p := range w.programs {
		p.kill()
	}
	w.net.close()
	close(w.starts)
	if w.t.Failed() {
		w.logs()
	}
	require.NoError(w.t, os.RemoveAll(w.dir))
}

// logs shows the end of what each program wrote.
func (w *world) logs() {
	for name, p := range w.programs {
		text, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		w.t.Logf("%s:\n%s", name, strings.Join(lines[max(0, len(lines)-*logLines):], "\n"))
	}
}

func (w *world) build() {
	if *programs != "" {
		require.NoError(w.t, os.Symlink(*programs, w.dir+"/bin"))
		return
	}
	build := exec.Command("go", "build", "-o", w.dir+"/bin/", "github.com/waxwing-dm/waxwing/cmd/waxwing", "github.com/waxwing-dm/waxwing/cmd/waxwingd")
	out, err := build.CombinedOutput()
	require.NoError(w.t, err, string(out))
}

// found makes the places, and in each an instance as its admin would: init, account, serve.
func (w *world) found() {
	names := ""
	for i, host := range hosts {
		names += serviceAddress(i) + " " + host + "\n"
	}
	w.write("hosts", []byte("127.0.0.1 localhost\n"+names))
	w.write("resolv.conf", []byte("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n"))
	w.certify()
	for _, host := range hosts {
		_, err := w.net.settle(host, keeping{
			Hosts: w.dir + "/hosts", Resolv: w.dir + "/resolv.conf", Cert: w.dir + "/" + host + ".crt", Key: w.dir + "/" + host + ".key", Behind: behind,
		})
		require.NoError(w.t, err)
		w.admin(host, "init", "--instance", "https://"+host, "--data", w.data(host), "--listen", behind)
		w.start(host, host, "bin/waxwingd", "serve", "--config", w.config(host))
	}
	_, err := w.net.settle("road", keeping{Hosts: w.dir + "/hosts", Resolv: w.dir + "/resolv.conf"})
	require.NoError(w.t, err)
	for _, r := range residents {
		w.moveIn(r.name, r.host, r.place)
	}
}

func (w *world) write(name string, data []byte) {
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), data, 0o600))
}

func (w *world) data(host string) string   { return filepath.Join(w.dir, host+".data") }
func (w *world) config(host string) string { return filepath.Join(w.dir, host+".toml") }
func (w *world) home(name string) string   { return filepath.Join(w.dir, name) }

// admin runs a command of waxwingd.
func (w *world) admin(host string, args ...string) string {
	out, err := w.net.places[host].run(w.dir+"/bin/waxwingd", append(args, "--config", w.config(host))...).CombinedOutput()
	require.NoError(w.t, err, string(out))
	return string(out)
}

var code = regexp.MustCompile(`login code: (\S+)\n`)

func (w *world) moveIn(name, host, where string) {
	found := code.FindStringSubmatch(w.admin(host, "account", "add", name))
	require.NotNil(w.t, found)
	w.start(name, where, "bin/waxwing", "agent", "--home", w.home(name))
	w.people[name] = client.Unix(w.home(name) + "/agent.sock")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.until(ctx, name+" does not log in", func() error {
		_, err := w.people[name].Login(ctx, handle(name), found[1])
		return err
	})
	w.until(ctx, name+" does not let everybody write", func() error { // who is put out and let in again is not asked each time
		_, err := w.people[name].SetConsent(ctx, "everybody")
		return err
	})
}

// until waits for something that may take its time before anything has gone wrong.
func (w *world) until(ctx context.Context, otherwise string, f func() error) {
	w.t.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			require.NoError(w.t, err, otherwise)
		}
	}
}

func (w *world) start(name, where, program string, args ...string) {
	w.programs[name] = newProgram(w, filepath.Join(w.dir, name+".log"), func() *exec.Cmd {
		cmd := w.net.places[where].run(filepath.Join(w.dir, program), args...)
		cmd.Env = append(os.Environ(), "WAXWING_PASSPHRASE="+passphrase, "SSL_CERT_FILE="+w.dir+"/ca.crt", "HOME="+w.dir)
		return cmd
	})
	require.NoError(w.t, w.programs[name].start())
}

func newProgram(w *world, log string, command func() *exec.Cmd) *program {
	return &program{command: command, spawn: w.spawn, log: log}
}

func (p *program) start() error {
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, gone := p.command(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = f, f
	if err := p.spawn(cmd); err != nil {
		return err
	}
	go func() {
		_ = cmd.Wait() // it is killed
		close(gone)
	}()
	p.cmd, p.gone = cmd, gone
	return nil
}

// signal returns an error if the process is not there any more.
func (p *program) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(s)
}

// kill ends it at once, and returns when it is gone.
func (p *program) kill() {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err)
	}
	<-p.gone
}

// certify makes an authority that the programs trust, and a certificate for each host.
func (w *world) certify() {
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root := w.newKey()
	w.pem("ca.crt", "CERTIFICATE", w.sign(authority, authority, root, root))
	for i, host := range hosts {
		key := w.newKey()
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(2 + i)), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		}
		w.pem(host+".crt", "CERTIFICATE", w.sign(leaf, authority, key, root))
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(w.t, err)
		w.pem(host+".key", "PRIVATE KEY", der)
	}
}

func (w *world) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(w.t, err)
	return key
}

func (w *world) sign(c, by *x509.Certificate, key, with *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, with)
	require.NoError(w.t, err)
	return der
}

func (w *world) pem(name, kind string, der []byte) {
	w.write(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// possible says why no world can be made here, if so.
func possible() error {
	if os.Geteuid() != 0 {
		return errors.New("not run as root")
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		return err
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		return err
	} else {
		f.Close()
	}
	try := exec.Command("/proc/self/exe", "-test.run=^$")
	try.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if err := try.Run(); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	return nil
}
