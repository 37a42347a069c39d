package sidecar

import (
	"errors"
	"net/http"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/mls"
)

// This file is all that the sidecar uses of package mls: headers of messages and key packages, which are public.

var errNotMessage = errors.New("not a message that travels between servers")

// classify says what an MLSMessage is (I8).
func classify(message []byte) (federation.Kind, error) {
	m, err := mls.ParseMessage(message)
	if err != nil {
		return "", err
	}
	kind, ok := kinds[m.WireFormat()]
	if !ok {
		return "", errNotMessage
	}
	return kind, nil
}

var kinds = map[mls.WireFormat]federation.Kind{
	mls.WireWelcome: federation.KindWelcome, mls.WirePrivateMessage: federation.KindPrivate, mls.WirePublicMessage: federation.KindPublic,
}

// headers are what the hub looks at (S2).
func headers(message []byte) (groupID []byte, epoch uint64, commit bool, err error) {
	m, err := mls.ParseMessage(message)
	if err != nil {
		return nil, 0, false, err
	}
	switch m.WireFormat() {
	case mls.WirePrivateMessage, mls.WirePublicMessage:
		return m.GroupID(), m.Epoch(), m.ContentType() == mls.ContentCommit, nil
	}
	return nil, 0, false, errNotMessage
}

// rawKeyPackage takes the frame off a key package, if it has one. The frame begins as a raw package of suite 5 does, so the start does
// not tell; what can be read as both to its last byte does not exist.
func rawKeyPackage(content []byte) ([]byte, error) {
	if _, err := mls.ParseKeyPackage(content); err == nil {
		return content, nil
	}
	m, err := mls.ParseMessage(content)
	if err != nil || m.KeyPackage() == nil {
		return nil, errors.New("not a key package")
	}
	return m.KeyPackage().Marshal(), nil
}

// checkKeyPackage says whether a package may be offered for a device: it is the device's own, the device is in the actor's
// newest list, and RFC 9420 section 10.1 holds.
func checkKeyPackage(raw, signatureKey []byte, list keydir.DeviceList, now time.Time) (notAfter uint64, err error) {
	refuse := func(code, detail string) error {
		return problem.New(http.StatusUnprocessableEntity, code, "%s", detail)
	}
	kp, err := mls.ParseKeyPackage(raw)
	if err != nil {
		return 0, refuse("mls_malformed", "a key package cannot be decoded")
	}
	facts := keydir.KeyPackageFacts{
		Suite: uint16(kp.Suite), Basic: kp.Leaf.Credential.Type == mls.CredentialBasic, Identity: kp.Leaf.Credential.Identity,
		SignatureKey: kp.Leaf.SignatureKey, NotBefore: kp.Leaf.Lifetime.NotBefore, NotAfter: kp.Leaf.Lifetime.NotAfter,
	}
	var kpErr *keydir.KeyPackageError
	if err := keydir.CheckKeyPackage(facts, list, now); errors.As(err, &kpErr) {
		return 0, refuse(kpErr.Code, "a key package does not count: "+kpErr.Reason)
	} else if err != nil {
		return 0, err
	}
	if string(facts.SignatureKey) != string(signatureKey) {
		return 0, refuse("kp_not_logged", "a key package does not count: it is of another device than the token")
	}
	if err := kp.Verify(now); err != nil {
		return 0, refuse("kp_invalid", "a key package does not count: it does not verify")
	}
	return facts.NotAfter, nil
}
