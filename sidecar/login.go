package sidecar

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/keydir"
	"github.com/waxwing-dm/waxwing/sidecar/internal/rsakey"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

const loginWindow = 5 * time.Minute

// AddAccount makes a person's account on a stand-alone sidecar and returns the login code to hand out. The code is not kept,
// only its hash.
func (s *Sidecar) AddAccount(name string) (code string, err error) {
	if !federation.ValidName(name) {
		return "", fmt.Errorf("sidecar: adding account %.40q: a name has lower-case letters, digits and _, at most 30", name)
	}
	key, err := rsakey.Make()
	if err != nil {
		return "", err
	}
	code, hash := newCode()
	err = s.store.Accounts.Add(context.Background(), store.Account{Actor: s.actorOf(name), RSAKey: key, CodeHash: hash})
	if errors.Is(err, store.ErrErasing) {
		return "", fmt.Errorf("sidecar: adding account %s: one of that name is being erased; try again when that is done", name)
	}
	if errors.Is(err, store.ErrExists) {
		return "", fmt.Errorf("sidecar: adding account %s: it exists; `waxwingd account code %s` gives it a new login code", name, name)
	}
	return code, err
}

// NewCode gives an account another login code. The old one is void; devices that are logged in stay so.
func (s *Sidecar) NewCode(name string) (code string, err error) {
	code, hash := newCode()
	err = s.store.Accounts.SetCode(context.Background(), s.actorOf(name), hash)
	if errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("sidecar: account %.40q: there is none of that name", name)
	}
	return code, err
}

// newCode makes 100 random bits in groups that people can type. A guess is hopeless, so a plain hash is enough.
func newCode() (code string, hash []byte) {
	raw := make([]byte, 15)
	_, _ = rand.Read(raw) // does not fail: crypto/rand ends the program instead
	text := strings.ToLower(base32.StdEncoding.EncodeToString(raw))[:20]
	code = strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:]}, "-")
	return code, codeHash(code)
}

// codeHash forgives what people do when they copy a code.
func codeHash(code string) []byte {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))))
	return sum[:]
}

var errLogin = problem.New(http.StatusUnauthorized, "login_refused", "this account, login code or signature is not right")

// login is POST /devices.
func (s *Sidecar) login(w http.ResponseWriter, r *http.Request) error {
	var l clientapi.Login
	if _, err := readJSON(w, r, maxSmall, &l); err != nil {
		return err
	}
	actor := s.actorOf(l.Account)
	account, err := s.store.Accounts.Get(r.Context(), actor)
	if errors.Is(err, store.ErrNotFound) {
		return errLogin
	} else if err != nil {
		return err
	}
	if !s.loginProven(l, account.CodeHash) {
		return errLogin
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // does not fail
	token := l.Account + "." + base64.RawURLEncoding.EncodeToString(secret)
	device := store.Device{Actor: actor, ID: keydir.DeviceID(l.SignatureKey), SignatureKey: l.SignatureKey}
	if err := s.store.Accounts.AddDevice(r.Context(), device, tokenHash(token)); err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, clientapi.LoggedIn{Token: token, Actor: actor, Handle: s.handleOf(actor), Device: device.ID})
}

func (s *Sidecar) loginProven(l clientapi.Login, code []byte) bool {
	if subtle.ConstantTimeCompare(codeHash(l.Code), code) != 1 || len(l.SignatureKey) != ed25519.PublicKeySize {
		return false
	}
	at := time.UnixMilli(int64(l.Time))
	if d := s.now().Sub(at); l.Time > maxTime || d > loginWindow || d < -loginWindow {
		return false
	}
	return ed25519.Verify(ed25519.PublicKey(l.SignatureKey), clientapi.LoginMessage(federation.Host(s.instance), l.Account, l.Time), l.Signature)
}

const maxTime = 1 << 50 // milliseconds; far in the future, and safe to compute with

func tokenHash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// A deviceHandler answers a call of a device that is logged in.
type deviceHandler func(w http.ResponseWriter, r *http.Request, d store.Device) error

var errToken = problem.New(http.StatusUnauthorized, "token_required", "this call needs the token of a device that is logged in")

// asDevice checks the bearer token. The account's name in front of it says whose rows to look in.
func (s *Sidecar) asDevice(h deviceHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		name, _, split := strings.Cut(token, ".")
		if !ok || !split || len(token) > 200 {
			return errToken
		}
		d, err := s.store.Accounts.Device(r.Context(), s.actorOf(name), tokenHash(token))
		if errors.Is(err, store.ErrNotFound) {
			return errToken
		} else if err != nil {
			return err
		}
		return h(w, r, d)
	}
}

// account is GET /account.
func (s *Sidecar) account(w http.ResponseWriter, r *http.Request, d store.Device) error {
	oneTime, lastResort, err := s.store.KeyPackages.Count(r.Context(), d.Actor, d.ID, s.now())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, clientapi.Account{
		Actor: d.Actor, Handle: s.handleOf(d.Actor), Device: d.ID, OneTime: oneTime, LastResort: lastResort,
	})
}
