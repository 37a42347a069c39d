package sidecar

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/waxwing-dm/waxwing/federation"
	"github.com/waxwing-dm/waxwing/internal/clientapi"
	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/sidecar/store"
)

// blobTime is how long one file may take; 32 MiB in it is a line of 0.5 Mbit/s.
const blobTime = 10 * time.Minute

// putBlob is PUT /blobs/<hash>.
func (s *Sidecar) putBlob(w http.ResponseWriter, r *http.Request, d store.Device) error {
	s.allow(w, blobTime)
	hash := r.PathValue("hash")
	if err := noEncoding(r); err != nil {
		return err
	}
	if r.ContentLength > clientapi.MaxBlob {
		return bodyError(&http.MaxBytesError{Limit: clientapi.MaxBlob}, clientapi.MaxBlob)
	}
	err := s.store.Blobs.Put(r.Context(), d.Actor, hash, http.MaxBytesReader(w, r.Body, clientapi.MaxBlob), s.now())
	if err != nil {
		return bodyError(err, clientapi.MaxBlob)
	}
	return writeJSON(w, http.StatusCreated, clientapi.Blob{URL: s.instance + federation.PathBlobs + hash})
}

// allow gives a transfer more time than other calls have.
func (s *Sidecar) allow(w http.ResponseWriter, d time.Duration) {
	c := http.NewResponseController(w)
	// An error means that there is no connection with deadlines below, as in a test without a server.
	_ = c.SetReadDeadline(time.Now().Add(d))
	_ = c.SetWriteDeadline(time.Now().Add(d))
}

// publicBlob is GET of a file that was brought here. Its name is the secret that leads to it, and it is encrypted.
func (s *Sidecar) publicBlob(w http.ResponseWriter, r *http.Request) error {
	return s.serveBlob(w, r, r.PathValue("hash"))
}

func (s *Sidecar) serveBlob(w http.ResponseWriter, r *http.Request, hash string) error {
	f, err := s.store.Blobs.Open(hash)
	if err != nil {
		return err
	}
	defer f.Close()
	s.serveFile(w, r, f)
	return nil
}

func (s *Sidecar) serveFile(w http.ResponseWriter, r *http.Request, f io.ReadSeeker) {
	s.allow(w, blobTime)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// blob is GET /blobs?url=: a device reaches other instances' files through its own, so that they do not learn where it is.
func (s *Sidecar) blob(w http.ResponseWriter, r *http.Request, _ store.Device) error {
	u := r.URL.Query().Get("url")
	instance, hash, ok := strings.Cut(u, federation.PathBlobs)
	if o, err := federation.Origin(u); !ok || err != nil || o != instance {
		return invalid("url is not that of a file of an instance")
	}
	if !store.IsHash(hash) {
		return invalid("url is not that of a file of an instance")
	}
	if instance == s.instance {
		return s.serveBlob(w, r, hash)
	}
	return s.fetchBlob(w, r, u, hash)
}

// fetchBlob keeps what comes in a temporary file until it is known to be what its name says.
func (s *Sidecar) fetchBlob(w http.ResponseWriter, r *http.Request, u, hash string) error {
	tmp, err := s.store.Blobs.Temp()
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	sum := sha256.New()
	if err := s.remote.Blob(r.Context(), u, io.MultiWriter(tmp, sum)); err != nil {
		return fromPeer(err, "not_found")
	}
	if hex.EncodeToString(sum.Sum(nil)) != hash {
		return problem.New(http.StatusBadGateway, "digest_mismatch", "the other instance sent other bytes than those asked for")
	}
	s.serveFile(w, r, tmp)
	return nil
}

// fromPeer tells a device what another sidecar answered. Codes that concern the device are passed on; everything else is
// between the servers, and above all no 401 may look as if the device's token were wrong.
func fromPeer(err error, passOn ...string) error {
	var p *problem.Problem
	if !errors.As(err, &p) {
		unreachable := problem.New(http.StatusBadGateway, "peer_unreachable", "the other instance cannot be reached now")
		return errors.Join(unreachable, err)
	}
	for _, code := range passOn {
		if p.Code == code {
			return p
		}
	}
	failed := problem.New(http.StatusBadGateway, "peer_failed", "the other instance refused: %s", p.Code)
	failed.Retry = p.Retry
	return failed
}
