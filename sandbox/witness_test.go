package sandbox_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sandbox"
	"github.com/waxwing-dm/waxwing/transparency"
	"github.com/waxwing-dm/waxwing/transparency/vrf"
)

// An account without an agent: its statements are made here, so that what is measured is the log and its witnesses.
type account struct {
	t      *testing.T
	client *clientapi.Client
	actor  string
	log    transparency.Log
	policy *transparency.Policy
	keys   []ed25519.PrivateKey // of the account, by seq
	device keydir.Device
	newest *transparency.Statement
	record *keydir.Record
}

func newAccount(t *testing.T, s *sandbox.Sandbox, name string) *account {
	code, err := s.AddAccount(name, sandbox.HostA)
	require.NoError(t, err)
	http := safehttp.New(safehttp.Config{Hosts: s.Hosts()})
	public, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	base := "http://" + sandbox.HostA + "/waxwing/v1"
	at := uint64(time.Now().UnixMilli())
	in, err := clientapi.New(base, "", http).Login(context.Background(), clientapi.Login{
		Account: name, Code: code, SignatureKey: clientapi.Bytes(public), Time: at, Signature: ed25519.Sign(key, clientapi.LoginMessage(sandbox.HostA, name, at)),
	})
	require.NoError(t, err)
	policy, err := transparency.ParsePolicy(s.Policy())
	require.NoError(t, err)
	return &account{
		t: t, client: clientapi.New(base, in.Token, http), actor: in.Actor, policy: policy, log: pin(t, s, http),
		device: keydir.Device{SignatureKey: [32]byte(public), Added: at},
	}
}

func pin(t *testing.T, s *sandbox.Sandbox, client *safehttp.Client) transparency.Log {
	req, err := http.NewRequest(http.MethodGet, "http://"+sandbox.HostA+"/.well-known/waxwing", nil)
	require.NoError(t, err)
	res, err := client.Do(req, 1<<16)
	require.NoError(t, err)
	var d struct {
		Log struct {
			Origin, Key string
			VRF         []byte
		}
	}
	require.NoError(t, json.Unmarshal(res.Body, &d))
	_, err = vrf.ParsePublicKey(d.Log.VRF)
	require.NoError(t, err)
	l, err := transparency.Pin(sandbox.HostA, d.Log.Origin, d.Log.Key, d.Log.VRF)
	require.NoError(t, err)
	return l
}

// say publishes the next list of the account.
func (a *account) say() clientapi.Published {
	if a.newest == nil {
		a.look()
	}
	for len(a.keys) < 2 || a.newest != nil && len(a.keys) < int(a.newest.Seq)+3 {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(a.t, err)
		a.keys = append(a.keys, k)
	}
	c := keydir.Change{Kind: transparency.KindFirst, Label: a.label(), List: keydir.DeviceList{Actor: a.actor, Devices: []keydir.Device{a.device}}}
	_, _ = io.ReadFull(rand.Reader, c.Opening[:]) // does not fail
	n := 0
	if a.newest != nil {
		c.Kind, n = transparency.KindUpdate, int(a.newest.Seq)+1
	}
	c.Next = [32]byte(a.keys[n+1].Public().(ed25519.PublicKey))
	statement, content := c.Sign(a.newest, a.keys[n], uint64(time.Now().UnixMilli()))
	published, err := a.client.Publish(context.Background(), clientapi.Publication{Statement: statement.Marshal(), Opening: c.Opening[:], Content: content})
	require.NoError(a.t, err)
	a.newest = &statement
	return published
}

func (a *account) label() (label [32]byte) {
	answer, err := a.client.Lookup(context.Background(), a.actor, 0)
	require.NoError(a.t, err)
	parsed, err := transparency.ParseAnswer(answer)
	require.NoError(a.t, err)
	_, found, err := a.log.Check(a.actor, parsed, a.terms())
	require.NoError(a.t, err)
	return found.Label
}

func (a *account) terms() transparency.Terms {
	return transparency.Terms{Policy: a.policy, Own: sandbox.HostB, Now: time.Now().Unix()}
}

// look asks as anybody does, by the policy, and says whether the newest statement is what is shown.
func (a *account) look() bool {
	answer, err := a.client.Lookup(context.Background(), a.actor, a.log.Size)
	require.NoError(a.t, err)
	parsed, err := transparency.ParseAnswer(answer)
	require.NoError(a.t, err)
	log, record, _, err := keydir.Verify(a.log, a.record, a.actor, parsed, a.terms())
	require.NoError(a.t, err)
	a.log, a.record = log, record
	return record != nil && a.newest != nil && record.Statement == *a.newest
}

// TestThreeWitnesses: what is published is vouched for by witnesses that belong to neither side before anybody is shown it; one of them
// may be away; if two are, it waits and says why, and needs nobody to ask again.
func TestThreeWitnesses(t *testing.T) {
	s, err := sandbox.Start(context.Background(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	a := newAccount(t, s, "dora")

	var took []time.Duration
	for range 20 {
		start := time.Now()
		p := a.say()
		require.True(t, p.Witnessed, p.Waiting)
		require.True(t, a.look(), "what was witnessed is shown")
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("update to witnessed and shown: p50 %v, worst %v", took[len(took)/2], took[len(took)-1])

	require.NoError(t, s.StopWitness(3))
	p := a.say()
	require.True(t, p.Witnessed, "one of three is away: %s", p.Waiting)
	require.True(t, a.look())

	require.NoError(t, s.StopWitness(2))
	p = a.say()
	require.False(t, p.Witnessed)
	require.Contains(t, p.Waiting, "w2.test")
	require.Contains(t, p.Waiting, "w3.test")
	t.Log(p.Waiting)
	require.False(t, a.look(), "what nobody has witnessed is not shown")

	require.NoError(t, s.StartWitness(2))
	require.Eventually(t, a.look, 90*time.Second, 200*time.Millisecond)
	require.NoError(t, s.StartWitness(3))
}

// TestContactSaysWhy: the agents of the sandbox ask for the witnesses, and say so.
func TestContactSaysWhy(t *testing.T) {
	s, err := sandbox.Start(context.Background(), t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	c, err := s.Person("alice").Contact(context.Background(), s.Person("bob").Handle)
	require.NoError(t, err)
	require.NotNil(t, c.Believed)
	require.True(t, c.Believed.Auditor)
	counting := 0
	for _, w := range c.Believed.Witnesses {
		require.True(t, w.Counts, w.Name)
		counting++
	}
	require.GreaterOrEqual(t, counting, 3)
	require.True(t, bytes.Contains(s.Policy(), []byte("w1.test/waxwing/witness")))
	t.Log(c.Believed.Sentence)
}
