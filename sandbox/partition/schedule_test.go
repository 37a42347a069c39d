//go:build linux

package partition_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A fault is something that goes wrong somewhere, and is healed.
type fault struct {
	kind *kind
	at   string // a place or program
	to   string // of a one-way partition
}

type kind struct {
	name string
	at   []string // where it can be
	// begin and end return when it has happened.
	begin, end func(w *world, f fault) error
}

func (f fault) String() string {
	if f.to != "" {
		return f.kind.name + " from " + f.at + " to " + f.to
	}
	return f.kind.name + " at " + f.at
}

func (f fault) begin(w *world) error { return f.kind.begin(w, f) }
func (f fault) end(w *world) error   { return f.kind.end(w, f) }

const silence = "all packets lost"

var (
	places = append(slices.Clone(hosts), "road")
	agents = []string{"alice", "bob", "carol", "dora"}
)

func paths(p func(w *world, f fault, p path), broken path) (begin, end func(w *world, f fault) error) {
	return func(w *world, f fault) error { p(w, f, broken); return nil }, func(w *world, f fault) error { p(w, f, path{}); return nil }
}

func around(w *world, f fault, p path) { w.net.around(f.at, p) }
func oneWay(w *world, f fault, p path) { w.net.set(f.at, f.to, p) }

func orders(begin, end string) (func(w *world, f fault) error, func(w *world, f fault) error) {
	return func(w *world, f fault) error { return w.net.places[f.at].order(begin) },
		func(w *world, f fault) error { return w.net.places[f.at].order(end) }
}

func signals(begin, end syscall.Signal) (func(w *world, f fault) error, func(w *world, f fault) error) {
	return func(w *world, f fault) error { return w.programs[f.at].signal(begin) },
		func(w *world, f fault) error { return w.programs[f.at].signal(end) }
}

func kills() (func(w *world, f fault) error, func(w *world, f fault) error) {
	return func(w *world, f fault) error { w.programs[f.at].kill(); return nil },
		func(w *world, f fault) error { return w.programs[f.at].start() }
}

var kinds = func() []*kind {
	of := func(name string, at []string) func(begin, end func(w *world, f fault) error) *kind {
		return func(begin, end func(w *world, f fault) error) *kind { return &kind{name, at, begin, end} }
	}
	return []*kind{
		of("link down", places)(orders("unplug", "plug in")),
		of(silence, places)(paths(around, path{loss: 1})),
		of("packets lost and late", places)(paths(around, path{loss: 0.3, delay: 50 * time.Millisecond, jitter: 100 * time.Millisecond})),
		of("one way cut", places)(paths(oneWay, path{loss: 1})),
		of("sidecar frozen", hosts)(signals(syscall.SIGSTOP, syscall.SIGCONT)),
		of("agent frozen", agents)(signals(syscall.SIGSTOP, syscall.SIGCONT)),
		of("sidecar killed", hosts)(kills()),
		of("agent killed", agents)(kills()),
	}
}()

// atOnce is how many faults a round has.
const atOnce = 3

// schedule makes rounds of faults, each at another place, such that every kind has its turn before one comes again. The first has somebody go
// silent: nothing tells the others but that nothing comes.
func schedule(seed uint64, n int, only string) (list [][]fault) {
	d := &deck{rng: rand.New(rand.NewPCG(seed, 2))}
	for _, k := range kinds {
		if only == "" || slices.Contains(strings.Split(only, ","), k.name) {
			d.all = append(d.all, k)
		}
	}
	if len(d.all) == 0 {
		panic(fmt.Sprintf("no fault is called %q", only))
	}
	d.shuffle()
	d.first(silence)
	for range n {
		var round []fault
		for len(round) < atOnce {
			k := d.draw()
			f := choose(d.rng, k)
			for slices.ContainsFunc(round, func(other fault) bool { return other.at == f.at }) {
				f = choose(d.rng, k)
			}
			round = append(round, f)
		}
		list = append(list, round)
	}
	return list
}

// A deck hands out all kinds before one comes again.
type deck struct {
	rng       *rand.Rand
	all, rest []*kind
}

func (d *deck) shuffle() {
	d.rest = slices.Clone(d.all)
	d.rng.Shuffle(len(d.rest), func(i, j int) { d.rest[i], d.rest[j] = d.rest[j], d.rest[i] })
}

// first puts a kind on top, if it is there.
func (d *deck) first(name string) {
	if i := slices.IndexFunc(d.rest, func(k *kind) bool { return k.name == name }); i >= 0 {
		d.rest[0], d.rest[i] = d.rest[i], d.rest[0]
	}
}

func (d *deck) draw() *kind {
	if len(d.rest) == 0 {
		d.shuffle()
	}
	k := d.rest[0]
	d.rest = d.rest[1:]
	return k
}

func choose(rng *rand.Rand, k *kind) fault {
	f := fault{kind: k, at: k.at[rng.IntN(len(k.at))]}
	for k.name == "one way cut" && !talks(f.at, f.to) {
		f.to = places[rng.IntN(len(places))]
	}
	return f
}

// talks says whether two places have anything to do with each other: who is on the road asks their own instance only.
func talks(from, to string) bool {
	home := hosts[0]
	return from != to && to != "" && (from != "road" || to == home) && (to != "road" || from == home)
}
