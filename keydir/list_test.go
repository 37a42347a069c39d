package keydir_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waxwing-dm/waxwing/keydir"
)

// encoded spells a list by the struct in spec/log-entry.md, whatever it is told.
func encoded(version byte, actor string, seq uint32, devices []byte) []byte {
	return encodedFrom(version, actor, "", seq, devices)
}

func encodedFrom(version byte, actor, former string, seq uint32, devices []byte) []byte {
	b := []byte{version}
	for _, url := range []string{actor, former} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(url)))
		b = append(b, url...)
	}
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint16(b, uint16(len(devices)))
	return append(b, devices...)
}

// device is the 40 bytes of one.
func device(key byte) []byte {
	return append(bytes.Repeat([]byte{key}, 32), 0, 0, 0, 0, 0, 0, 0, key)
}

func manyDevices(n int) (b []byte) {
	for i := range n {
		d := device(0)
		binary.BigEndian.PutUint16(d, uint16(i))
		b = append(b, d...)
	}
	return b
}

func TestDeviceListRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := keydir.DeviceList{
			Actor: rapid.StringN(1, 500, 2048).Draw(t, "actor"), Former: rapid.StringN(0, 500, 2048).Draw(t, "former"), Seq: rapid.Uint32().Draw(t, "seq"),
		}
		keys := rapid.SliceOfNDistinct(rapid.Uint64(), 0, keydir.MaxDevices, rapid.ID[uint64]).Draw(t, "keys")
		slices.Sort(keys)
		for _, k := range keys {
			d := keydir.Device{Added: rapid.Uint64().Draw(t, "added")}
			binary.BigEndian.PutUint64(d.SignatureKey[:], k)
			l.Devices = append(l.Devices, d)
		}
		b := l.Marshal()
		got, err := keydir.ParseDeviceList(b)
		require.NoError(t, err)
		require.Equal(t, l, got)
		for _, d := range l.Devices {
			require.True(t, l.Has(d.SignatureKey[:]))
			unknown := d.SignatureKey
			unknown[31] ^= 1
			require.False(t, l.Has(unknown[:]))
			require.False(t, l.Has(d.SignatureKey[:31]))
		}
		require.False(t, l.Has(nil))
	})
}

func TestDeviceListStandsAsTheSpecHasIt(t *testing.T) {
	l := keydir.DeviceList{Actor: "a", Former: "bc", Seq: 0x01020304, Devices: []keydir.Device{
		{SignatureKey: [32]byte(bytes.Repeat([]byte{1}, 32)), Added: 1}, {SignatureKey: [32]byte(bytes.Repeat([]byte{2}, 32)), Added: 2},
	}}
	require.Equal(t, encodedFrom(2, "a", "bc", 0x01020304, append(device(1), device(2)...)), l.Marshal())
}

func TestDeviceListLimits(t *testing.T) {
	for name, b := range map[string][]byte{
		"no devices":        encoded(2, "a", 0, nil),
		"100 devices":       encoded(2, "a", 0, manyDevices(100)),
		"actor of 2048":     encoded(2, strings.Repeat("a", 2048), 1<<32-1, device(1)),
		"former of 2048":    encodedFrom(2, "a", strings.Repeat("f", 2048), 1, device(1)),
		"actor of any text": encoded(2, "\x00\xff", 0, device(1)),
	} {
		l, err := keydir.ParseDeviceList(b)
		require.NoError(t, err, name)
		require.Equal(t, b, l.Marshal(), name)
	}
}

func TestParseDeviceListRefuses(t *testing.T) {
	good := encoded(2, "actor", 7, append(device(1), device(2)...))
	cases := map[string][]byte{
		"version 0": encoded(0, "actor", 7, device(1)), "version 3": encoded(3, "actor", 7, device(1)), "version 1": encoded(1, "actor", 7, device(1)),
		"former of 2049": encodedFrom(2, "a", strings.Repeat("f", 2049), 7, nil), "no actor, but a former": encodedFrom(2, "", "f", 7, nil),
		"no actor": encoded(2, "", 7, device(1)), "actor of 2049": encoded(2, strings.Repeat("a", 2049), 7, nil),
		"101 devices": encoded(2, "actor", 7, manyDevices(101)), "as many as fit": encoded(2, "actor", 7, manyDevices(1638)),
		"not in order": encoded(2, "actor", 7, append(device(2), device(1)...)),
		"last two not in order": encoded(2, "actor", 7,
			slices.Concat(device(1), device(3), device(2))),
		"a device twice":               encoded(2, "actor", 7, append(device(1), device(1)...)),
		"a key twice, added otherwise": encoded(2, "actor", 7, append(device(1), append(bytes.Repeat([]byte{1}, 32), 0, 0, 0, 0, 0, 0, 0, 9)...)),
		"half a device":                encoded(2, "actor", 7, device(1)[:20]), "a device and a byte": encoded(2, "actor", 7, append(device(1), 0)),
		"a byte after": append(bytes.Clone(good), 0), "two lists": append(bytes.Clone(good), good...),
		"length beyond the end": append(encoded(2, "actor", 7, nil)[:14], 0xff, 0xff),
	}
	for i := range good {
		cases["cut at "+hex.EncodeToString([]byte{byte(i)})] = good[:i]
	}
	for name, b := range cases {
		l, err := keydir.ParseDeviceList(b)
		require.Error(t, err, name)
		require.Zero(t, l, name)
	}
}

func TestDeviceID(t *testing.T) {
	d := keydir.Device{SignatureKey: [32]byte{1, 2, 3}}
	h := sha256.Sum256(append([]byte("waxwing device v1\x00"), d.SignatureKey[:]...))
	require.Equal(t, hex.EncodeToString(h[:16]), d.ID())
	require.Equal(t, d.ID(), keydir.DeviceID(d.SignatureKey[:]))
}
