package sidecar

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// asking is how witnesses are reached: by the same door as everybody else.
type asking struct{ http *safehttp.Client }

// Post is the witness.Transport's.
func (a asking) Post(ctx context.Context, url string, body []byte) (status int, contentType string, answer []byte, err error) {
	res, err := a.do(ctx, http.MethodPost, url, body)
	if err != nil {
		return 0, "", nil, err
	}
	return res.Status, res.Header.Get("Content-Type"), res.Body, nil
}

// Get is the witness.Getter's.
func (a asking) Get(ctx context.Context, url string) (status int, answer []byte, err error) {
	res, err := a.do(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	return res.Status, res.Body, nil
}

func (a asking) do(ctx context.Context, method, url string, body []byte) (*safehttp.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("its URL is none")
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	res, err := a.http.Do(req, witness.MaxResponse)
	if err != nil {
		return nil, silence{err}
	}
	return res, nil
}

// silence is an error that says in a few words why there is no answer. What lies below it names addresses, which are nobody's business.
type silence struct{ err error }

func (s silence) Unwrap() error { return s.err }

func (s silence) Error() string {
	switch {
	case errors.Is(s.err, context.DeadlineExceeded), errors.Is(s.err, context.Canceled):
		return "no answer in time"
	case errors.Is(s.err, safehttp.ErrRefused):
		return "its URL is not one that is connected to"
	case errors.Is(s.err, safehttp.ErrTooLarge):
		return "its answer is too large"
	}
	return "it cannot be reached"
}
