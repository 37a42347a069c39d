package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waxwing-dm/waxwing/mls"
	"github.com/waxwing-dm/waxwing/mls/interop/harness"
)

// A server holds the members it plays. Everything in it belongs to whoever holds mu; oneAtATime takes it for each call.
type server struct {
	harness.UnimplementedMLSClientServer

	mu      sync.Mutex
	last    uint32 // number given out; all the maps share one series
	members map[uint32]*member
	joiners map[uint32]*joiner
	closed  map[uint32]*successor
	signers map[uint32]*externalSigner
}

func newServer() *server {
	return &server{
		members: map[uint32]*member{}, joiners: map[uint32]*joiner{},
		closed: map[uint32]*successor{}, signers: map[uint32]*externalSigner{},
	}
}

// A member is one state. Its number stays the same from epoch to epoch.
type member struct {
	group   *mls.Group
	framing mls.WireFormat
	psks    psks
	heard   map[string]bool // proposals of this epoch, our own ones among them
}

// A joiner has published a key package.
type joiner struct {
	leaf    mls.KeyPackageParams
	secret  *mls.KeyPackageSecret
	psks    psks
	message []byte // the key package
}

// psks are the secrets of external pre-shared keys by id. Those of resumption a group knows itself.
type psks map[string][]byte

func (p psks) find(k mls.PSK) ([]byte, bool) {
	secret, ok := p[string(k.ID)]
	return secret, ok && k.ID != nil
}

func (s *server) oneAtATime(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply, err := handle(ctx, req)
	if err != nil {
		return nil, status.Error(code(err), err.Error())
	}
	return reply, nil
}

var errUnknown = errors.New("there is none of this number")

func code(err error) codes.Code {
	var invalid *mls.InvalidError
	switch {
	case errors.Is(err, errUnknown):
		return codes.NotFound
	case errors.As(err, &invalid):
		return codes.InvalidArgument
	case errors.Is(err, mls.ErrUnsupported):
		return codes.Unimplemented
	}
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return codes.FailedPrecondition
}

func (s *server) number() uint32 {
	s.last++
	return s.last
}

func find[T any](all map[uint32]*T, what string, id uint32) (*T, error) {
	if x, ok := all[id]; ok {
		return x, nil
	}
	return nil, fmt.Errorf("%s %d: %w", what, id, errUnknown)
}

func (s *server) member(id uint32) (*member, error) { return find(s.members, "state", id) }

// enter keeps the state of somebody who is in a group from now on.
func (s *server) enter(g *mls.Group, framing mls.WireFormat, known psks) uint32 {
	m := &member{group: g, framing: framing, psks: known, heard: map[string]bool{}}
	g.UsePSKs(m.psks.find)
	id := s.number()
	s.members[id] = m
	return id
}

func framing(encrypted bool) mls.WireFormat {
	if encrypted {
		return mls.WirePrivateMessage
	}
	return mls.WirePublicMessage
}

// suite takes a number that does not fit for one that is not known.
func suite(number uint32) mls.CipherSuite {
	if number > 0xffff {
		return 0
	}
	return mls.CipherSuite(number)
}

const lifetime = 24 * 3600

// newLeaf is a new client with a key of its own. It can be in a group of any suite before, and in one of another suite after it.
func newLeaf(cs mls.CipherSuite, identity []byte) (mls.KeyPackageParams, error) {
	signer, err := mls.GenerateSignatureKey(cs, rand.Reader)
	if err != nil {
		return mls.KeyPackageParams{}, err
	}
	now := uint64(time.Now().Unix())
	return mls.KeyPackageParams{
		Suite: cs, Signer: signer, Credential: mls.BasicCredential(identity),
		Capabilities: mls.Capabilities{CipherSuites: suites},
		Lifetime:     mls.Lifetime{NotBefore: now - 60, NotAfter: now + lifetime},
	}, nil
}

var suites = []mls.CipherSuite{
	mls.X25519AES128GCMSHA256Ed25519, mls.P256AES128GCMSHA256P256, mls.X25519ChaCha20Poly1305SHA256Ed25519, mls.X448AES256GCMSHA512Ed448,
	mls.P521AES256GCMSHA512P521, mls.X448ChaCha20Poly1305SHA512Ed448, mls.P384AES256GCMSHA384P384,
}

// newJoiner makes a key package, and keeps nothing yet.
func newJoiner(cs mls.CipherSuite, identity []byte) (*joiner, error) {
	leaf, err := newLeaf(cs, identity)
	if err != nil {
		return nil, err
	}
	secret, err := mls.NewKeyPackage(rand.Reader, leaf)
	if err != nil {
		return nil, err
	}
	framed := append([]byte{0, 1, 0, byte(mls.WireKeyPackage)}, secret.KeyPackage().Marshal()...)
	return &joiner{leaf: leaf, secret: secret, psks: psks{}, message: framed}, nil
}

// join opens a Welcome; from is the group that the new one comes from, if it does.
func (j *joiner) join(welcome, tree []byte, from *mls.Group) (*mls.Group, error) {
	message, err := mls.ParseMessage(welcome)
	if err != nil {
		return nil, err
	}
	staged, err := mls.JoinWelcome(message, mls.JoinParams{
		KeyPackage: j.secret, Signer: j.leaf.Signer, RatchetTree: tree, PSKs: j.psks.find, From: from,
	})
	if err != nil {
		return nil, err
	}
	return staged.Group(), nil
}

// keyPackages that arrive as MLSMessages.
func keyPackages(messages [][]byte) ([]*mls.KeyPackage, error) {
	var all []*mls.KeyPackage
	for _, raw := range messages {
		message, err := mls.ParseMessage(raw)
		if err != nil {
			return nil, err
		}
		kp := message.KeyPackage()
		if kp == nil {
			return nil, fmt.Errorf("wire format %d is not a key package", message.WireFormat())
		}
		all = append(all, kp)
	}
	return all, nil
}

func extensions(list []*harness.Extension) ([]mls.Extension, error) {
	var all []mls.Extension
	for _, e := range list {
		if e.ExtensionType > 0xffff {
			return nil, fmt.Errorf("extension type %d has more than two bytes", e.ExtensionType)
		}
		all = append(all, mls.Extension{Type: mls.ExtensionType(e.ExtensionType), Data: e.ExtensionData})
	}
	return all, nil
}
