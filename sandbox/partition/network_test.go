//go:build linux

package partition_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A network joins places by a switch in this process: every packet between two of them passes [network.forward], which loses or delays it as
// the path from the one to the other says. Nothing of it is on the host's network, and all of it is gone with this process. A switch in the kernel
// would need netem and a filter for what is done here, and not every kernel has them.
type network struct {
	mu     sync.Mutex
	rng    *rand.Rand
	paths  map[[2]string]path
	at     map[netip.Addr]*place
	places map[string]*place
	spawn  func(*exec.Cmd) error
}

// A path is one way between two places.
type path struct {
	loss          float64 // of packets: 1 is all of them
	delay, jitter time.Duration
}

// A place is a network namespace with an address, and files of names of its own. What is done in it is done by a process, its keeper.
type place struct {
	name    string
	keeper  *exec.Cmd
	packets *os.File // one datagram is one packet, both ways
	orders  io.WriteCloser
	replies io.Reader
}

// Addresses are such as the programs take for public ones. They lead nowhere from in here.
const subnet = "11.0.0."

// serviceAddress is where the i-th place is called; its way out has an address of its own, so that what is called is there when the way out
// is not.
func serviceAddress(i int) string { return fmt.Sprint(subnet, 1+i) }
func wayOutAddress(i int) string  { return fmt.Sprint(subnet, 101+i) }

func newNetwork(seed uint64, spawn func(*exec.Cmd) error) *network {
	return &network{
		rng: rand.New(rand.NewPCG(seed, 1)), paths: map[[2]string]path{}, at: map[netip.Addr]*place{}, places: map[string]*place{}, spawn: spawn,
	}
}

// settle makes a place.
func (n *network) settle(name string, k keeping) (*place, error) {
	i := len(n.places)
	k.Service, k.WayOut = serviceAddress(i), wayOutAddress(i)
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(ends[0], true); err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "packets"), os.NewFile(uintptr(ends[1]), "packets")
	defer theirs.Close()
	config, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	p := &place{name: name, keeper: exec.Command("/proc/self/exe"), packets: ours}
	p.keeper.Env = append(os.Environ(), asKeeper+"="+string(config))
	p.keeper.ExtraFiles = []*os.File{theirs}
	p.keeper.Stderr = os.Stderr
	p.keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if p.orders, err = p.keeper.StdinPipe(); err != nil {
		return nil, err
	}
	if p.replies, err = p.keeper.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := n.spawn(p.keeper); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.places[name] = p
	n.at[netip.MustParseAddr(k.Service)], n.at[netip.MustParseAddr(k.WayOut)] = p, p
	n.mu.Unlock()
	if err := p.reply(); err != nil {
		return nil, err
	}
	go n.carry(p)
	return p, nil
}

// order has the keeper do something and waits for it.
func (p *place) order(what string) error {
	if _, err := io.WriteString(p.orders, what+"\n"); err != nil {
		return err
	}
	return p.reply()
}

// reply reads one line, byte by byte: nothing else is ever there.
func (p *place) reply() error {
	var line strings.Builder
	for b := make([]byte, 1); ; line.Write(b) {
		if _, err := p.replies.Read(b); err != nil {
			return fmt.Errorf("%s: the keeper is gone: %w", p.name, err)
		}
		if b[0] == '\n' {
			break
		}
	}
	if line.String() != "done" {
		return fmt.Errorf("%s: %s", p.name, line.String())
	}
	return nil
}

// run is a command in the place.
func (p *place) run(program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", fmt.Sprint(p.keeper.Process.Pid), "-n", "-m", "--", program}, args...)...)
}

func (n *network) carry(p *place) {
	buffer := make([]byte, 64<<10)
	for {
		size, err := p.packets.Read(buffer)
		if err != nil || size == 0 {
			return
		}
		n.forward(p, append([]byte(nil), buffer[:size]...))
	}
}

func (n *network) forward(from *place, packet []byte) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return
	}
	n.mu.Lock()
	to := n.at[netip.AddrFrom4([4]byte(packet[16:20]))]
	if to == nil || to == from {
		n.mu.Unlock()
		return
	}
	way := n.paths[[2]string{from.name, to.name}]
	lost := n.rng.Float64() < way.loss
	delay := way.delay
	if way.jitter > 0 {
		delay += time.Duration(n.rng.Int64N(int64(way.jitter)))
	}
	n.mu.Unlock()
	switch {
	case lost:
	case delay == 0:
		_, _ = to.packets.Write(packet) // to one who has gone: lost as well
	default:
		time.AfterFunc(delay, func() { _, _ = to.packets.Write(packet) })
	}
}

// set changes a way from one place to another; the way back is another.
func (n *network) set(from, to string, p path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[[2]string{from, to}] = p
}

// around changes all ways to and from a place.
func (n *network) around(name string, p path) {
	for other := range n.places {
		n.set(name, other, p)
		n.set(other, name, p)
	}
}

func (n *network) close() {
	for _, p := range n.places {
		_ = p.orders.Close() // the keeper goes then
		_ = p.keeper.Wait()
		_ = p.packets.Close()
	}
}
