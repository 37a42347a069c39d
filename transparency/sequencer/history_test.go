package sequencer_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/sequencer"
)

// A life is what one actor's statements come to, kept apart from the code under test.
type life struct {
	last    *said // nil: nothing ever
	devices []byte
	key     byte // the account key that goes on
}

func (l life) ended() bool { return l.last != nil && (l.last.Kind == move || l.last.Kind == erase) }

// A model is what the log should have, and what of it should be served.
type model struct {
	b      *bench
	now    map[string]life
	served map[string]life
}

var actors = []string{alice, bob, "https://a.example/users/carol"}

// publish draws what an actor says next, and says it.
func (m *model) publish(t *rapid.T) {
	actor := rapid.SampledFrom(actors).Draw(t, "actor")
	l := m.now[actor]
	kinds := []transparency.Kind{first}
	if l.last != nil {
		kinds = []transparency.Kind{reset}
	}
	if l.last != nil && !l.ended() {
		kinds = append(kinds, update, update, move)
		if len(l.devices) > 0 {
			kinds = append(kinds, revoke, revoke)
		}
	}
	devices := rapid.SliceOfNDistinct(rapid.ByteRange(1, 6), 0, 4, rapid.ID[byte]).Draw(t, "devices")
	var s said
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case first:
		l = life{devices: devices, key: 1}
		s = m.b.says(first, actor, nil, l.key, devices...)
	case update:
		s = m.b.says(update, actor, l.last, l.key, devices...)
		l.devices = devices
	case move:
		s = m.b.says(move, actor, l.last, l.key)
		l.devices = nil
	case reset:
		l.key = l.key%100 + 1
		s = m.b.says(reset, actor, l.last, l.key, devices...)
		l.devices = devices
	case revoke:
		gone := rapid.SampledFrom(l.devices).Draw(t, "gone")
		s = m.b.revokes(*l.last, gone)
		l.devices = slices.DeleteFunc(slices.Clone(l.devices), func(d byte) bool { return d == gone })
	}
	m.b.appended(s)
	l.last = &s
	m.now[actor] = l
}

func (m *model) erase(t *rapid.T) {
	actor := rapid.SampledFrom(actors).Draw(t, "actor")
	l := m.now[actor]
	err := m.b.Erase(ctx, actor)
	if l.last == nil || l.last.Kind == erase {
		require.ErrorIs(t, err, sequencer.ErrNotFound)
		return
	}
	require.NoError(t, err)
	seq := l.last.Seq + 1
	time := max(l.last.Time, uint64(m.b.now.UnixMilli()))
	gone := said{Statement: transparency.Statement{Kind: erase, Time: time, Label: l.last.Label, Seq: seq, LastReset: seq}, actor: actor}
	m.now[actor] = life{last: &gone, key: l.key}
}

func (m *model) serve() {
	m.served = map[string]life{}
	for actor, l := range m.now {
		m.served[actor] = l
	}
}

func (m *model) requireSeen(t *rapid.T, r *reader, actors ...string) {
	for _, actor := range actors {
		before := r.known[actor]
		record, err := r.look(actor)
		l := m.served[actor]
		switch {
		case m.served == nil:
			require.ErrorIs(t, err, sequencer.ErrNotYet)
		case l.last == nil:
			require.NoError(t, err)
			require.Nil(t, record)
		case l.last.Kind == erase:
			require.ErrorIs(t, err, sequencer.ErrErased)
		default:
			require.NoError(t, err)
			require.Equal(t, l.last.Statement, record.Statement)
			require.Len(t, record.List.Devices, len(l.devices))
			for _, d := range l.devices {
				k := public(deviceKey(d))
				require.True(t, record.List.Has(k[:]))
			}
			require.Equal(t, l.last.Kind == move, record.MovedTo != "")
			require.Equal(t, before != nil && record.Statement.LastReset > before.Statement.Seq, record.Reset)
		}
	}
}

// TestAnyLife: people publish, revoke, move, are erased and come back, the log is padded, cosigned and opened again, in any order;
// readers who look now and then see what is served, and nothing but that.
func TestAnyLife(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBenchOf(t, rapid.Bool().Draw(rt, "alone"))
		m := &model{b: b, now: map[string]life{}}
		r := b.reader()
		if b.alone {
			m.serve()
		}
		steps := map[string]func(*rapid.T){
			"publish": m.publish, "publish more": m.publish, "erase": m.erase,
			"pad":     func(*rapid.T) { require.NoError(t, b.Pad(ctx)) },
			"restart": func(*rapid.T) { b.restart() },
			"look":    func(t *rapid.T) { m.requireSeen(t, r, actors...) },
			"":        func(t *rapid.T) { m.requireSeen(t, b.reader(), rapid.SampledFrom(actors).Draw(t, "stranger to")) },
		}
		if b.alone {
			for _, name := range []string{"publish", "publish more", "erase"} {
				step := steps[name]
				steps[name] = func(t *rapid.T) { step(t); m.serve() }
			}
		} else {
			steps["cosign"] = func(*rapid.T) { b.cosign(); m.serve() }
			steps["cosign late"] = func(t *rapid.T) {
				_, checkpoint := b.Unwitnessed()
				then := &model{now: m.now}
				then.serve()
				m.publish(t)
				require.NoError(t, b.Witnessed(ctx, cosigned(checkpoint)))
				m.served = then.served
			}
		}
		rt.Repeat(steps)
		b.replayed()
		if m.served != nil {
			m.requireForgotten(t)
		}
	})
}

// requireForgotten: of an actor who was erased, nothing is left once that is served and the log was opened again.
func (m *model) requireForgotten(t testing.TB) {
	m.b.restart()
	if !m.b.alone {
		m.b.cosign()
	}
	for actor, l := range m.now {
		_, err := m.b.Answer(ctx, actor, 0)
		require.Equal(t, l.last.Kind == erase, errors.Is(err, sequencer.ErrErased), fmt.Sprint(err))
		require.Equal(t, l.last.Kind != erase, m.b.store.Holds([]byte(actor)), actor)
	}
}
