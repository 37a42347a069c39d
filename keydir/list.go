// Package keydir has the rules of device lists and key packages: which signature keys speak for an actor, and what a
// directory's answer must prove before an agent believes it (spec/log-entry.md). Pure functions over bytes and values.
//
// It knows nothing of MLS. That the credential in a leaf is a statement in this directory is joined in package device.
package keydir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

const (
	listVersion = 2 // each kind of content has a number of its own; see content.go
	// MaxDevices is the most devices one actor's list may have.
	MaxDevices = 100
	// MaxActor is the most bytes an actor URL may have.
	MaxActor   = 2048
	deviceSize = 40
)

// Device is one entry of a device list.
type Device struct {
	SignatureKey [32]byte // Ed25519, of the device's MLS leaves
	Added        uint64   // milliseconds
}

// DeviceID is the identifier of a device: 32 lower-case hex digits that follow from its signature key.
func DeviceID(signatureKey []byte) string {
	h := sha256.Sum256(append([]byte("waxwing device v1\x00"), signatureKey...))
	return hex.EncodeToString(h[:16])
}

// ID of the device.
func (d Device) ID() string { return DeviceID(d.SignatureKey[:]) }

// DeviceList says which devices speak for an actor. Seq is that of its log entry.
type DeviceList struct {
	Actor   string
	Former  string // the actor that the account was before it moved here, or nothing
	Seq     uint32
	Devices []Device // strictly ascending by key
}

// ParseDeviceList reads a list in its one canonical encoding.
func ParseDeviceList(b []byte) (DeviceList, error) {
	var l DeviceList
	s := cryptobyte.String(b)
	var version uint8
	var devices cryptobyte.String
	if !s.ReadUint8(&version) || version != listVersion || !readActor(&s, 1, &l.Actor) || !readActor(&s, 0, &l.Former) || !s.ReadUint32(&l.Seq) || !s.ReadUint16LengthPrefixed(&devices) || len(devices) > MaxDevices*deviceSize || !s.Empty() {
		return DeviceList{}, fmt.Errorf("keydir: reading a device list of %d bytes: malformed", len(b))
	}
	for !devices.Empty() {
		var d Device
		if !devices.CopyBytes(d.SignatureKey[:]) || !devices.ReadUint64(&d.Added) {
			return DeviceList{}, fmt.Errorf("keydir: reading the device list of %s: malformed", l.Actor)
		}
		if n := len(l.Devices); n > 0 && bytes.Compare(l.Devices[n-1].SignatureKey[:], d.SignatureKey[:]) >= 0 {
			return DeviceList{}, fmt.Errorf("keydir: reading the device list of %s: devices are not in order", l.Actor)
		}
		l.Devices = append(l.Devices, d)
	}
	return l, nil
}

// Marshal encodes the list; devices must be in order.
func (l DeviceList) Marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint8(listVersion)
	addActor(&b, l.Actor)
	addActor(&b, l.Former)
	b.AddUint32(l.Seq)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, d := range l.Devices {
			b.AddBytes(d.SignatureKey[:])
			b.AddUint64(d.Added)
		}
	})
	return b.BytesOrPanic()
}

func addActor(b *cryptobyte.Builder, actor string) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(actor)) })
}

func readActor(s *cryptobyte.String, least int, out *string) bool {
	var actor cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&actor) || len(actor) < least || len(actor) > MaxActor {
		return false
	}
	*out = string(actor)
	return true
}

// Has says whether the key is of a device in the list.
func (l DeviceList) Has(signatureKey []byte) bool {
	for _, d := range l.Devices {
		if bytes.Equal(d.SignatureKey[:], signatureKey) {
			return true
		}
	}
	return false
}

// without returns the list less one device; false if it has none with that key.
func (l DeviceList) without(signatureKey []byte) (DeviceList, bool) {
	less := l
	less.Devices = nil
	for _, d := range l.Devices {
		if !bytes.Equal(d.SignatureKey[:], signatureKey) {
			less.Devices = append(less.Devices, d)
		}
	}
	return less, len(less.Devices) == len(l.Devices)-1
}
