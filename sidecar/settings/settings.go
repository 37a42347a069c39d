// Package settings reads how an operator wants a sidecar to run. What can be set is one list of keys ([keys]): each key is declared there with its
// words, and the commented file that [Write] makes, the help, the flags and the names in the environment all come from it.
//
// A key is a line in one TOML file, a variable WAXWINGD_KEY in the environment, and a flag --key with "-" for "_". A flag goes before
// the environment, that before the file, and that before the default. What is no key is an error wherever it stands, and so is a
// value that cannot be right: a setting that is silently without effect is found when it is needed.
//
//	flags := settings.Bind(cmd, settings.All...)
//	…
//	loaded, err := flags.Load(os.Environ())
package settings

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/waxwing-dm/waxwing/federation"
)

// Settings of a sidecar. What each means stands in the list of keys.
type Settings struct {
	Instance    string
	Standalone  bool
	Listen      string
	Data        string
	Witnesses   string
	WitnessFor  []string
	AdminListen string
	LogLevel    string
	LogFormat   string

	MaxConnections           int
	MaxConnectionsPerAddress int
	ClientAddressHeader      string
}

// A key is one thing to set.
type key struct {
	name string
	// doc are sentences for the file and the help; the first is what the flag's help says.
	doc   string
	into  func(*Settings) any // *string, *bool, *int or *[]string
	check func(Settings) error
}

func (k key) flag() string     { return strings.ReplaceAll(k.name, "_", "-") }
func (k key) variable() string { return prefix + strings.ToUpper(k.name) }

const prefix = "WAXWINGD_"

// fileVariable names the file as --config does.
const fileVariable = prefix + "CONFIG"

var keys = []key{
	{"instance", "The instance's origin, as in https://a.example. It is needed at the first start and fixed from then on: every name in the log has it inside.",
		func(s *Settings) any { return &s.Instance }, func(s Settings) error { return checkOrigin(s.Instance) }},
	{"standalone", "Host the actors here, without another server. This version does nothing else.",
		func(s *Settings) any { return &s.Standalone }, nil},
	{"listen", "Address to answer calls on. It speaks plain HTTP: a reverse proxy with TLS stands in front and passes the Host header on.",
		func(s *Settings) any { return &s.Listen }, func(s Settings) error { return checkAddress(s.Listen) }},
	{"data", "Data folder. It has the instance's keys in it: keep it private and backed up.",
		func(s *Settings) any { return &s.Data }, func(s Settings) error { return checkFilled(s.Data) }},
	{"witnesses", "File that says whose cosignatures the log needs (C2SP tlog-policy, see spec/witness.md). Without one the log is its own word only: whoever runs it could show different people different keys, and they would not notice.",
		func(s *Settings) any { return &s.Witnesses }, nil},
	{"witness_for", "Instances whose logs to witness. Those that the users here talk to are witnessed anyway.",
		func(s *Settings) any { return &s.WitnessFor }, func(s Settings) error { return checkOrigin(s.WitnessFor...) }},
	{"admin_listen", "Address of /livez, /readyz, /status and /metrics, for you and your monitoring; empty for none. Nobody is named there, but whoever reaches it sees how much goes on here: leave it on a loopback or private address.",
		func(s *Settings) any { return &s.AdminListen }, func(s Settings) error { return checkAddressOrNone(s.AdminListen) }},
	{"max_connections", "How many connections there may be at once; more are closed. One that only waits, as event streams do, takes some 20 KiB of memory, and each takes a file descriptor.",
		func(s *Settings) any { return &s.MaxConnections }, func(s Settings) error { return checkPositive(s.MaxConnections) }},
	{"max_connections_per_address", "How many of them one public address may have, or one network of IPv6 (64 bits). From loopback and private addresses comes what the reverse proxy passes on: there is its own limit, such as limit_conn of nginx, the one that counts.",
		func(s *Settings) any { return &s.MaxConnectionsPerAddress }, func(s Settings) error { return checkPositive(s.MaxConnectionsPerAddress) }},
	{"client_address_header", "Header in which your reverse proxy says what address a call comes from, such as X-Real-IP, or X-Forwarded-For, of which the last address counts. Then an address from which too much comes that is signed badly, or not at all, is turned away before anything is computed; without it only instances are, for what they have signed. It is believed from loopback and private addresses only. The proxy must write it itself: in one that it only passes on, everybody writes what they like.",
		func(s *Settings) any { return &s.ClientAddressHeader }, func(s Settings) error { return checkHeader(s.ClientAddressHeader) }},
	{"log_level", "The least that is logged: debug, info, warn or error. At info there is a line for each call, with its route and status; of refusals of one kind some lines in ten seconds, and then how many more there were.",
		func(s *Settings) any { return &s.LogLevel }, func(s Settings) error { return checkOneOf(s.LogLevel, levels...) }},
	{"log_format", "How it is logged, to standard error: text or json. No line names a person or a conversation, only instances.",
		func(s *Settings) any { return &s.LogFormat }, func(s Settings) error { return checkOneOf(s.LogFormat, "text", "json") }},
}

// levels of the log.
var levels = []string{"debug", "info", "warn", "error"}

// Defaults are what holds where nothing else is said.
func Defaults() Settings {
	return Settings{Listen: "127.0.0.1:8480", Data: "waxwingd-data", AdminListen: "127.0.0.1:8490", LogLevel: "info", LogFormat: "text",
		MaxConnections: 4096, MaxConnectionsPerAddress: 256}
}

// All are the names of all keys.
var All = func() (names []string) {
	for _, k := range keys {
		names = append(names, k.name)
	}
	return names
}()

func find(name string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

func checkOrigin(values ...string) error {
	for _, v := range values {
		if o, err := federation.Origin(v); v != "" && (err != nil || o != v) {
			return fmt.Errorf("%q is not an origin like https://a.example", v)
		}
	}
	return nil
}

func checkAddress(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not an address like 127.0.0.1:8480", v)
	}
	return nil
}

func checkAddressOrNone(v string) error {
	if v == "" {
		return nil
	}
	return checkAddress(v)
}

func checkFilled(v string) error {
	if v == "" {
		return errors.New("it is empty")
	}
	return nil
}

func checkPositive(n int) error {
	if n < 1 {
		return fmt.Errorf("%d is not a number from 1 on", n)
	}
	return nil
}

func checkHeader(v string) error {
	for _, c := range v {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return fmt.Errorf("%q is not the name of a header", v)
		}
	}
	return nil
}

func checkOneOf(v string, all ...string) error {
	if slices.Contains(all, v) {
		return nil
	}
	return fmt.Errorf("%q is not one of %s", v, strings.Join(all, ", "))
}
