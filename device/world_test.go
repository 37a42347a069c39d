package device_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/device"
	"github.com/waxwing-dm/waxwing/internal/receipt"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
	"github.com/waxwing-dm/waxwing/transparency/sequencer/storetest"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// A world is everything outside the devices: the instances' logs and hubs, mailboxes, key packages, blobs. What is signed is signed for real.
type world struct {
	t         require.TestingT
	random    *rand.ChaCha8
	now       time.Time
	instances map[string]*instance
	people    map[string]*person
	packages  map[string]*supply  // by actor
	blobs     map[string][]byte   // by URL
	done      map[string]bool     // ids of jobs whose deliveries were made
	sent      map[string][]string // texts of delivered messages: for whom they were encrypted
	down      map[string]bool     // origins of hubs that cannot be asked
	away      map[string]bool     // actors whose devices are off
	sees      map[string]bool     // actors who reach hubs that are down for others
	mirrors   map[string]bool     // origins of instances that have what the first hub has
	cut       bool                // what is delivered is held until it is let go
	held      []func()
	toAll     bool                  // messages are delivered to everybody, whether they are members or not
	plain     map[string]*plainPeer // by actor: people on instances without a directory
}

type instance struct {
	log    *sequencer.Sequencer
	logKey string
	hubKey ed25519.PrivateKey
	hubs   map[string]*register // by hex of the group id
	store  *storetest.Memory
	config sequencer.Config
	forks  map[string]*instance // by actor: another log of the same keys, for the eyes of whom it is
	mute   bool                 // it gives no proofs
}

// register is a hub's state of one conversation (spec/receipt.md).
type register struct {
	branches []branch          // that may go on; more than one after a dispute
	events   []device.HubEvent // the open receipt first
	tickets  [][32]byte        // by seq: what the event was submitted with
	lease    []byte            // public key of who is alone with the next epoch
	disputed map[uint64]bool
	term     uint64
	infos    []device.SealedGroup // newest first
	moved    *device.HubEvent     // what another hub has told it
}

type branch struct {
	epoch  uint64
	ticket [32]byte
}

type supply struct {
	oneTime    [][]byte
	lastResort []byte
}

// person is somebody with one device and what waits for it at the sidecar.
type person struct {
	*device.Device
	w      *world
	actor  string
	store  *memory
	key    []byte // public signature key
	mail   []device.Incoming
	cursor uint64
}

func newWorld(t require.TestingT, seed uint64) *world {
	var s [32]byte
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return &world{
		t: t, random: rand.NewChaCha8(s), now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), instances: map[string]*instance{},
		people: map[string]*person{}, packages: map[string]*supply{}, blobs: map[string][]byte{}, done: map[string]bool{}, sent: map[string][]string{}, down: map[string]bool{},
		plain: map[string]*plainPeer{},
		away:  map[string]bool{}, sees: map[string]bool{}, mirrors: map[string]bool{},
	}
}

func (w *world) clock() time.Time { return w.now }

func originOf(actor string) (origin, host string) {
	u, _ := url.Parse(actor)
	return u.Scheme + "://" + u.Host, u.Host
}

func (w *world) instance(actor string) *instance {
	origin, host := originOf(actor)
	if in, ok := w.instances[origin]; ok {
		return in
	}
	seed := make([]byte, 64)
	_, _ = w.random.Read(seed)
	labels, err := vrf.GenerateKey(w.random)
	require.NoError(w.t, err)
	in := &instance{
		hubKey: ed25519.NewKeyFromSeed(seed[32:]), hubs: map[string]*register{}, forks: map[string]*instance{}, store: new(storetest.Memory),
		config: sequencer.Config{Host: host, Key: ed25519.NewKeyFromSeed(seed[:32]), VRF: labels, Now: w.clock, Alone: true},
	}
	in.open(w.t)
	w.instances[origin] = in
	return in
}

// open opens the log of a store.
func (in *instance) open(t require.TestingT) {
	in.config.Store = in.store
	var err error
	in.log, err = sequencer.New(context.Background(), in.config)
	require.NoError(t, err)
	in.logKey, err = in.log.VerifierKey()
	require.NoError(t, err)
}

// unlisted is somebody who has logged in and whose device nobody published.
func (w *world) unlisted(actor string) *person {
	p := &person{w: w, actor: actor, store: newMemory()}
	p.Device = device.New(p.store, w.random, w.clock)
	var err error
	p.key, err = p.Prepare()
	require.NoError(w.t, err)
	origin, _ := originOf(actor)
	in := w.instance(actor)
	require.NoError(w.t, p.Bind(actor, "@"+actor, origin, "token"))
	require.NoError(w.t, in.pin(p, origin))
	require.NoError(w.t, p.PinHub(in.hubKey.Public().(ed25519.PublicKey)))
	w.people[actor] = p
	p.asks(device.FromEverybody)
	return p
}

// asks sets what somebody asks of strangers.
func (p *person) asks(c device.Consent) {
	require.NoError(p.w.t, p.SetConsent(c))
	for told := true; told; {
		jobs, err := p.Jobs()
		require.NoError(p.w.t, err)
		told = false
		for _, j := range jobs {
			if _, ok := j.(*device.ConsentJob); ok {
				require.NoError(p.w.t, p.do(j))
				told = true
			}
		}
	}
}

func (w *world) enrol(actor string) *person {
	p := w.unlisted(actor)
	require.NoError(w.t, p.lookUp(actor))
	pub, err := p.DeviceList()
	require.NoError(w.t, err)
	require.NoError(w.t, w.publish(actor, pub))
	require.NoError(w.t, p.lookUp(actor))
	require.NoError(w.t, p.TopUp(0))
	p.work()
	return p
}

func (in *instance) pin(p *person, origin string) error {
	return p.PinLog(origin, in.log.Origin(), in.logKey, in.log.VRFKey())
}

func (w *world) publish(actor string, p device.Publication) error {
	_, err := w.instance(actor).log.Append(context.Background(), sequencer.Submission{
		Actor: actor, Statement: p.Statement, Opening: [32]byte(p.Opening), Content: p.Content,
	})
	return err
}

// restart throws the process away and starts another on the same store.
func (p *person) restart() { p.Device = device.New(p.store, p.w.random, p.w.clock) }

// work does jobs until there are none.
func (p *person) work() {
	for range 1000 {
		jobs := p.doable()
		if len(jobs) == 0 {
			return
		}
		for _, j := range jobs {
			require.NoError(p.w.t, p.do(j))
		}
	}
	require.Fail(p.w.t, "the jobs do not come to an end")
}

// doable are the jobs whose hub can be asked. For the others the device learns that it is away.
func (p *person) doable() []device.Job {
	return slices.DeleteFunc(p.listed(), func(j device.Job) bool {
		var conversation, hub string
		switch j := j.(type) {
		case *device.EventsJob:
			conversation, hub = j.Conversation, j.Hub
		case *device.CommitJob:
			conversation, hub = j.Conversation, j.Hub
		case *device.LeaseJob:
			conversation, hub = j.Conversation, j.Hub
		case *device.GroupInfoJob:
			conversation, hub = j.Conversation, j.Hub
		case *device.TermJob:
			claim, err := receipt.ParseClaim(j.Claim)
			require.NoError(p.w.t, err)
			hub = claim.Next.Hub
		default:
			return false
		}
		if hub == "" {
			hub, _ = originOf(conversation)
		}
		if !p.w.down[hub] || p.w.sees[p.actor] {
			return false
		}
		require.NoError(p.w.t, p.HubAway(j.ID()))
		return true
	})
}

// read receives what is in the mailbox.
func (p *person) read() {
	for len(p.mail) > 0 {
		item := p.mail[0]
		p.mail = p.mail[1:]
		p.receive(item)
	}
}

func (p *person) receive(item device.Incoming) {
	p.cursor++
	item.Cursor = p.cursor
	require.NoError(p.w.t, p.Receive(item))
}

// quiet lets everybody work and read until nothing happens any more.
func (w *world) quiet() {
	for range 100 {
		busy := false
		for _, actor := range w.actors() {
			p := w.people[actor]
			jobs := p.doable()
			busy = busy || len(jobs) > 0 || len(p.mail) > 0
			p.work()
			p.read()
			p.work()
		}
		for _, actor := range slices.Sorted(maps.Keys(w.plain)) {
			p := w.plain[actor]
			busy = busy || len(p.mail) > 0
			p.read()
		}
		if !busy {
			return
		}
	}
	require.Fail(w.t, "the world does not come to rest")
}

func (w *world) actors() []string {
	var actors []string
	for a := range w.people {
		if !w.away[a] {
			actors = append(actors, a)
		}
	}
	slices.Sort(actors)
	return actors
}

// do carries a job out and reports the result.
func (p *person) do(j device.Job) error {
	switch j := j.(type) {
	case *device.OpenJob:
		return p.open(j)
	case *device.LookupJob:
		for _, actor := range j.Actors {
			if err := p.lookUp(actor); err != nil {
				return err
			}
		}
		return p.LookedUp(j.ID())
	case *device.ClaimJob:
		return p.Claimed(j.ID(), p.w.claim(j))
	case *device.CommitJob:
		return p.commit(j)
	case *device.SendJob:
		if !p.w.done[j.ID()] {
			p.w.done[j.ID()] = true
			p.w.note(p.textOf(j), j.To)
			to := j.To
			if p.w.toAll {
				to = slices.DeleteFunc(p.w.actors(), func(a string) bool { return a == p.actor })
			}
			item := device.Incoming{Actor: p.actor, Conversation: j.Conversation, Message: j.Message}
			if j.Plain {
				item.Conversation = "" // it is no URL
			}
			p.w.deliver(to, item)
		}
		return p.Sent(j.ID())
	case *device.UploadJob:
		origin, _ := originOf(p.actor)
		u := origin + "/waxwing/blobs/" + j.Hash
		blob, err := p.Blob(j)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(blob)
		require.Equal(p.w.t, j.Hash, hex.EncodeToString(hash[:]))
		p.w.blobs[u] = blob
		return p.Uploaded(j.ID(), u)
	case *device.KeyPackagesJob:
		p.w.stock(p.actor, j)
		return p.KeyPackagesStored(j.ID())
	case *device.EventsJob:
		r := p.w.registerAt(j.Conversation, j.Hub)
		if len(r.events) == 0 && p.w.mirrors[j.Hub] {
			r = p.w.register(j.Conversation)
		}
		events := r.events[min(len(r.events), int(j.After)+1):]
		events = slices.Clone(events[:min(len(events), 100)])
		if r.moved != nil {
			events = append(events, *r.moved)
		}
		return p.EventsFetched(j.ID(), events)
	case *device.ConsentJob:
		return p.Decided(j.ID())
	case *device.ProofJob:
		return p.prove(j)
	case *device.LeaseJob:
		return p.lease(j)
	case *device.GroupInfoJob:
		return p.GroupInfos(j.ID(), p.w.registerAt(j.Conversation, j.Hub).newestInfos())
	case *device.TermJob:
		return p.term(j)
	case *device.HubKeysJob:
		keys := map[string][]byte{}
		for _, instance := range j.Instances {
			keys[instance] = publicBytes(p.w.instances[instance].hubKey.Public())
		}
		return p.HubKeys(j.ID(), keys)
	case *device.DisputeJob:
		return p.dispute(j)
	}
	return fmt.Errorf("a job of no kind: %T", j)
}

// note for whom a text was encrypted; that may be done anew.
func (w *world) note(text string, to []string) {
	for _, actor := range to {
		if text != "" && !slices.Contains(w.sent[text], actor) {
			w.sent[text] = append(w.sent[text], actor)
		}
	}
}

func (p *person) textOf(j *device.SendJob) string {
	if j.Seq == 0 {
		return "" // nobody wrote it
	}
	list, err := p.Messages(j.ConversationID, j.Seq-1, 1)
	require.NoError(p.w.t, err)
	return list[0].Text
}

func (p *person) open(j *device.OpenJob) error {
	origin, _ := originOf(p.actor)
	in := p.w.instance(p.actor)
	id := hex.EncodeToString(j.GroupID)
	r, ok := in.hubs[id]
	if !ok {
		rec := receipt.Receipt{Kind: receipt.KindOpen, GroupID: j.GroupID, Term: 1, Ticket: [32]byte(j.Ticket), Time: 1}
		rec.Sign(in.hubKey)
		r = &register{term: 1, disputed: map[uint64]bool{}, branches: []branch{{0, rec.Ticket}}, tickets: make([][32]byte, 1), events: []device.HubEvent{{Receipt: rec.Marshal()}}}
		in.hubs[id] = r
	}
	return p.Opened(j.ID(), receipt.ConversationURL(origin, j.GroupID), r.events[0].Receipt)
}

func (p *person) lookUp(actor string) error {
	origin, _ := originOf(actor)
	pinned, size, err := p.LogOf(actor)
	if err != nil {
		return err
	}
	if !pinned && p.w.isPlain(actor) {
		return p.NoDirectory(actor)
	}
	in := p.w.instance(actor).as(p)
	if !pinned {
		if err := in.pin(p, origin); err != nil {
			return err
		}
	}
	answer, err := in.log.Answer(context.Background(), actor, size)
	if err != nil {
		return p.Unknown(actor)
	}
	_, err = p.Learn(actor, answer.Marshal())
	if errors.Is(err, device.ErrLogSplit) || errors.Is(err, device.ErrLogUnproven) {
		return p.Unknown(actor)
	}
	return err
}

func (w *world) stock(actor string, j *device.KeyPackagesJob) {
	s := w.packages[actor]
	if s == nil {
		s = new(supply)
		w.packages[actor] = s
	}
	s.oneTime = append(s.oneTime, j.OneTime...)
	if j.LastResort != nil {
		s.lastResort = j.LastResort
	}
}

// claim hands out a package of each actor's device.
func (w *world) claim(j *device.ClaimJob) map[string][]device.ClaimedPackage {
	out := map[string][]device.ClaimedPackage{}
	for _, actor := range j.Actors {
		if p := w.plain[actor]; p != nil && slices.Contains(j.Plain, actor) {
			out[actor] = append(out[actor], device.ClaimedPackage{KeyPackage: p.secret.KeyPackage().Marshal()})
			continue
		}
		s, p := w.packages[actor], w.people[actor]
		if s == nil || p == nil {
			continue
		}
		c := device.ClaimedPackage{Device: keydir.DeviceID(p.key), KeyPackage: s.lastResort, LastResort: true}
		if len(s.oneTime) > 0 {
			c.KeyPackage, c.LastResort = s.oneTime[0], false
			s.oneTime = s.oneTime[1:]
		}
		out[actor] = append(out[actor], c)
	}
	return out
}

func (w *world) deliver(to []string, item device.Incoming) {
	if w.cut {
		w.held = append(w.held, func() { w.deliver(to, item) })
		return
	}
	for _, actor := range to {
		if p, ok := w.people[actor]; ok {
			p.mail = append(p.mail, item)
		}
		if p, ok := w.plain[actor]; ok {
			p.mail = append(p.mail, item)
		}
	}
}
