package mls_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/waxwing-dm/waxwing/mls"
)

const suite = mls.X25519AES128GCMSHA256Ed25519

var now = time.Unix(1_800_000_000, 0) // the package looks at no clock

// check keeps the examples short.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// received is what a client does with bytes from outside.
func received(g *mls.Group, raw []byte) mls.Processed {
	m, err := mls.ParseMessage(raw)
	check(err)
	p, err := g.Process(m, now)
	check(err)
	return p
}

// Alice makes a group and adds Bob by a key package that he has published. Both write, renew their keys, and part.
func Example() {
	// Each client has a signature key. Whose key it is the application has to know.
	alicesKey, err := mls.GenerateSignatureKey(suite, rand.Reader)
	check(err)
	bobsKey, err := mls.GenerateSignatureKey(suite, rand.Reader)
	check(err)

	// Bob publishes kp.KeyPackage().Marshal() and keeps kp.Marshal() to himself.
	kp, err := mls.NewKeyPackage(rand.Reader, mls.KeyPackageParams{
		Suite: suite, Signer: bobsKey, Credential: mls.BasicCredential([]byte("bob")),
		Lifetime: mls.Lifetime{NotBefore: uint64(now.Unix()), NotAfter: uint64(now.Unix()) + 30*24*3600},
	})
	check(err)

	// Alice creates a group and commits his addition. The commit is hers alone until it has been ordered.
	alice, err := mls.NewGroup(rand.Reader, mls.GroupParams{
		Suite: suite, GroupID: []byte("two of us"), Signer: alicesKey, Credential: mls.BasicCredential([]byte("alice")),
	})
	check(err)
	published, err := mls.ParseKeyPackage(kp.KeyPackage().Marshal())
	check(err)
	pending, err := alice.Commit(rand.Reader, mls.CommitParams{Proposals: []mls.Proposal{mls.AddProposal(published)}, Now: now})
	check(err)
	welcome := pending.Welcome()
	check(alice.ConfirmPending()) // now the Welcome may leave

	// Bob looks at who is there before he takes the group.
	m, err := mls.ParseMessage(welcome)
	check(err)
	join, err := mls.JoinWelcome(m, mls.JoinParams{KeyPackage: kp, Signer: bobsKey})
	check(err)
	for _, member := range join.Members() {
		fmt.Printf("bob sees %s at leaf %d\n", member.Node.Credential.Identity, member.Leaf)
	}
	bob := join.Group()

	// A message.
	text, err := alice.Encrypt(rand.Reader, []byte("hello"), nil, nil)
	check(err)
	hello := received(bob, text).(*mls.ApplicationMessage)
	fmt.Printf("%s says %q\n", hello.Sender.Node.Credential.Identity, hello.Data)

	// New keys: a commit of nothing heals whoever makes it.
	pending, err = bob.Commit(rand.Reader, mls.CommitParams{Now: now})
	check(err)
	commit := received(alice, pending.Message()).(*mls.StagedCommit)
	check(alice.Apply(commit)) // after the application has agreed to what it changes
	check(bob.ConfirmPending())
	fmt.Println("both are at epoch", alice.Epoch(), bob.Epoch())

	// Alice removes Bob.
	pending, err = alice.Commit(rand.Reader, mls.CommitParams{Proposals: []mls.Proposal{mls.RemoveProposal(bob.OwnLeaf())}, Now: now})
	check(err)
	last := received(bob, pending.Message()).(*mls.StagedCommit)
	fmt.Println("it removes bob:", last.RemovesUs())
	check(bob.Apply(last))
	check(alice.ConfirmPending())
	_, err = bob.Encrypt(rand.Reader, []byte("wait"), nil, nil)
	fmt.Println(errors.Is(err, mls.ErrRemoved))
	// Output:
	// bob sees alice at leaf 0
	// bob sees bob at leaf 1
	// alice says "hello"
	// both are at epoch 2 2
	// it removes bob: true
	// true
}

// What leaves the machine was persisted before. After a crash the same bytes are sent: a new message from an older state would use a
// key twice.
func Example_persistThenSend() {
	key, err := mls.GenerateSignatureKey(suite, rand.Reader)
	check(err)
	group, err := mls.NewGroup(rand.Reader, mls.GroupParams{Suite: suite, GroupID: []byte("notes"), Signer: key, Credential: mls.BasicCredential([]byte("me"))})
	check(err)

	type record struct{ state, outbox []byte } // one transaction of the application's store, sealed
	var stored record
	sent := 0
	send := func([]byte) { sent++ }

	message, err := group.Encrypt(rand.Reader, []byte("remember"), nil, nil)
	check(err)
	stored = record{group.Marshal(), message} // first this,
	send(stored.outbox)                       // then that

	// A restart: the group goes on where it was, and what may not have been sent is sent as it was.
	group, err = mls.UnmarshalGroup(stored.state)
	check(err)
	send(stored.outbox)
	next, err := group.Encrypt(rand.Reader, []byte("and this"), nil, nil)
	check(err)
	stored = record{group.Marshal(), next}
	send(stored.outbox)
	fmt.Println("sent", sent, "times, at epoch", group.Epoch())
	// Output: sent 3 times, at epoch 0
}
