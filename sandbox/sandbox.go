// Package sandbox runs two stand-alone sidecars, three agents and three witnesses in one process, with real HTTP between them on
// loopback: alice and carol live at a.test, bob at b.test, and w1.test to w3.test witness and audit both logs. It is the first thing a newcomer runs, a bench for apps that use the local API, and
// what end-to-end tests stand on. [Sandbox.Demo] plays a script in it and then looks for what was said on both servers.
//
// Only here do two wings of the house meet in one process.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/waxwing-dm/waxwing/agent"
	"github.com/waxwing-dm/waxwing/agent/client"
	"github.com/waxwing-dm/waxwing/agent/localapi"
	"github.com/waxwing-dm/waxwing/sidecar"
	"github.com/waxwing-dm/waxwing/transparency"
)

// The hosts. They exist in here only.
const (
	HostA = "a.test"
	HostB = "b.test"
)

var residents = []struct{ name, host string }{{"alice", HostA}, {"carol", HostA}, {"bob", HostB}}

// Sandbox is what runs. Its folder has one folder for what the servers could know (files, logs, and every byte on their
// connections) and one for the people's devices.
type Sandbox struct {
	dir       string
	hosts     map[string]string
	boxes     map[string]*box
	witnesses []*watchtower
	policy    string
	people    map[string]*Person
}

// Person is one agent and where it answers.
type Person struct {
	Name    string
	Handle  string // @alice@a.test
	Address string // of the local API: host and port
	Token   string
	*client.Client

	agent *agent.Agent
	home  string
	log   *os.File
	end   context.CancelFunc
	done  chan error // one for each of what was started
	tasks int
}

// Start starts everything below a folder, which should be empty. Close ends it.
func Start(ctx context.Context, dir string) (*Sandbox, error) {
	s := &Sandbox{dir: dir, hosts: map[string]string{}, boxes: map[string]*box{}, people: map[string]*Person{}}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sandbox) start(ctx context.Context) error {
	for _, host := range witnessHosts {
		l, err := s.listen(host)
		if err != nil {
			return err
		}
		s.witnesses = append(s.witnesses, &watchtower{host: host, dir: filepath.Join(s.dir, "servers", host), hosts: s.hosts, listener: l})
	}
	for _, host := range []string{HostA, HostB} {
		l, err := s.listen(host)
		if err != nil {
			return err
		}
		s.boxes[host] = &box{host: host, dir: filepath.Join(s.dir, "servers", host), wire: filepath.Join(s.dir, "servers", "wire"), hosts: s.hosts, listener: l}
	}
	policy, err := s.raise()
	if err != nil {
		return err
	}
	for _, b := range s.boxes {
		b.witnesses = policy
		if err := b.start(); err != nil {
			return err
		}
	}
	for _, r := range residents {
		if err := s.moveIn(ctx, r.name, r.host); err != nil {
			return fmt.Errorf("sandbox: %s: %w", r.name, err)
		}
	}
	return nil
}

// listen takes a port for a host.
func (s *Sandbox) listen(host string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s.hosts[host] = l.Addr().String()
	return l, nil
}

// moveIn gives somebody an account, a device and a login. They let everybody write to them; who does not is for a script to say.
func (s *Sandbox) moveIn(ctx context.Context, name, host string) error {
	code, err := s.boxes[host].AddAccount(name)
	if err != nil {
		return err
	}
	p := &Person{Name: name, Handle: "@" + name + "@" + host, home: filepath.Join(s.dir, "people", name), done: make(chan error, 2)}
	s.people[name] = p
	if p.Token, err = localapi.NewToken(); err != nil {
		return err
	}
	if p.log, err = openLog(filepath.Join(p.home, "agent.log")); err != nil {
		return err
	}
	p.agent, err = agent.Open(agent.Config{Home: p.home, Passphrase: []byte("sandbox"), Hosts: s.hosts, Witnesses: s.Policy(), Log: logger(p.log)})
	if err != nil {
		return err
	}
	l, err := localapi.ListenLoopback("127.0.0.1:0")
	if err != nil {
		return err
	}
	p.Address = l.Addr().String()
	p.Client = client.TCP(p.Address, p.Token)
	var life context.Context
	life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.tasks = 2
	go func() { p.done <- p.agent.Run(life) }()
	go func() { p.done <- localapi.Serve(life, p.agent, l, p.Token) }()
	if _, err = p.Login(ctx, p.Handle, code); err != nil {
		return err
	}
	_, err = p.SetConsent(ctx, "everybody")
	return err
}

// AddAccount makes an account at one of the hosts and returns its login code. Nobody has logged in there yet.
func (s *Sandbox) AddAccount(name, host string) (code string, err error) {
	b, ok := s.boxes[host]
	if !ok {
		return "", fmt.Errorf("sandbox: there is no host %.40q", host)
	}
	return b.AddAccount(name)
}

// Hosts is where the servers answer: what an agent from outside needs to reach them.
func (s *Sandbox) Hosts() map[string]string { return maps.Clone(s.hosts) }

// Person by name; nil if nobody is called that.
func (s *Sandbox) Person(name string) *Person { return s.people[name] }

// People in the order they moved in.
func (s *Sandbox) People() []*Person {
	var list []*Person
	for _, r := range residents {
		list = append(list, s.people[r.name])
	}
	return list
}

// KillServers ends both sidecars as a power cut would.
func (s *Sandbox) KillServers() {
	for _, b := range s.boxes {
		b.kill()
	}
}

// StartServers starts them again on what they had written.
func (s *Sandbox) StartServers() error {
	for _, b := range s.boxes {
		if err := b.start(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends everything. The folder stays.
func (s *Sandbox) Close() error {
	var errs []error
	for _, p := range s.people {
		errs = append(errs, p.close())
	}
	for _, b := range s.boxes {
		errs = append(errs, b.stop())
	}
	for _, w := range s.witnesses {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}

func (p *Person) close() error {
	var errs []error
	if p.end != nil {
		p.end()
	}
	for range p.tasks {
		errs = append(errs, <-p.done)
	}
	if p.agent != nil {
		errs = append(errs, p.agent.Close())
	}
	if p.log != nil {
		errs = append(errs, p.log.Close())
	}
	return errors.Join(errs...)
}

// A box is one server, through several lives.
type box struct {
	*sidecar.Sidecar
	host, dir, wire string
	hosts           map[string]string
	witnesses       *transparency.Policy
	listener        net.Listener
	log             *os.File
	served          chan error
}

func (b *box) start() error {
	if b.listener == nil {
		l, err := listenAgain(b.hosts[b.host])
		if err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		b.listener = l
	}
	tap, err := newWiretap(b.listener, b.wire)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if b.log, err = openLog(filepath.Join(b.dir, "sidecar.log")); err != nil {
		return err
	}
	b.Sidecar, err = sidecar.Open(sidecar.Config{
		Instance: "http://" + b.host, DataDir: filepath.Join(b.dir, "data"), Hosts: b.hosts, Witnesses: b.witnesses,
		Log: logger(b.log),
	})
	if err != nil {
		return fmt.Errorf("sandbox: %s: %w", b.host, err)
	}
	b.served = make(chan error, 1)
	go func(s *sidecar.Sidecar) { b.served <- s.Serve(context.Background(), tap) }(b.Sidecar)
	return nil
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	return f, nil
}

func logger(f *os.File) *slog.Logger {
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// listenAgain waits for a port that has just been left.
func listenAgain(address string) (l net.Listener, err error) {
	for range 50 {
		if l, err = net.Listen("tcp", address); err == nil {
			return l, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

func (b *box) kill() {
	if b.Sidecar != nil {
		b.Kill()
		<-b.served // a crash has nobody to tell
		b.leave()
	}
}

func (b *box) stop() error {
	if b.Sidecar == nil {
		if b.listener != nil {
			return b.listener.Close()
		}
		return nil
	}
	err := errors.Join(b.Close(), <-b.served)
	b.leave()
	return err
}

func (b *box) leave() {
	b.Sidecar, b.listener = nil, nil
	_ = b.log.Close() // written line by line; nothing waits in it
}
