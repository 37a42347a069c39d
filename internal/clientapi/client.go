package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/waxwing-dm/waxwing/internal/problem"
	"github.com/waxwing-dm/waxwing/internal/safehttp"
	"github.com/waxwing-dm/waxwing/internal/strictjson"
)

// Client calls one sidecar for one device. It is safe for concurrent use. What the sidecar refuses comes back as a
// *[problem.Problem]; other errors mean that it is not known whether the call was carried out. Every call can be made again.
type Client struct {
	base  string
	token string
	http  *safehttp.Client
}

// ErrNoAnswer marks the error of a call to which the sidecar gave no whole answer.
var ErrNoAnswer = errors.New("no answer")

// New makes a client. base is the "api" of the instance's discovery document; token is empty until the device has logged in.
func New(base, token string, http *safehttp.Client) *Client {
	return &Client{base: base, token: token, http: http}
}

// A Conflict is the answer to a commit that came too late, too early or from elsewhere: where the hub is, and what the sender missed.
type Conflict struct {
	*problem.Problem
	Behind
}

// Behind is what the hub adds.
type Behind struct {
	Term   uint64  `json:"term"`
	Epoch  uint64  `json:"epoch"`
	Seq    uint64  `json:"seq"`
	Events []Event `json:"events"`
}

// Unwrap lets callers that only want the code see the problem.
func (c *Conflict) Unwrap() error { return c.Problem }

// HubMoved is the answer of a hub that believes the conversation to be elsewhere.
type HubMoved struct {
	*problem.Problem
	Moved Moved
}

// Unwrap lets callers that only want the code see the problem.
func (m *HubMoved) Unwrap() error { return m.Problem }

// Login of a device.
func (c *Client) Login(ctx context.Context, l Login) (in LoggedIn, err error) {
	err = c.call(ctx, http.MethodPost, "/devices", l, &in)
	return in, err
}

// Account that the token is for.
func (c *Client) Account(ctx context.Context) (a Account, err error) {
	err = c.call(ctx, http.MethodGet, "/account", nil, &a)
	return a, err
}

// Publish a statement. It is durable in the log when Publish returns nil; that, and whether it is witnessed, a lookup shows.
func (c *Client) Publish(ctx context.Context, p Publication) (published Published, err error) {
	err = c.call(ctx, http.MethodPost, "/directory", p, &published)
	return published, err
}

// Revoke hands in the revocation of a device. It is a public call: the client's base is <instance>/waxwing.
func (c *Client) Revoke(ctx context.Context, r Revocation) (published Published, err error) {
	err = c.call(ctx, http.MethodPost, "/log/revocations", r, &published)
	return published, err
}

// Lookup asks for what an actor's log has about them. The answer is unverified. With <instance>/waxwing for a base it is the public call.
func (c *Client) Lookup(ctx context.Context, actor string, from int64) (answer []byte, err error) {
	res, err := c.do(ctx, http.MethodGet, query("/directory", "actor", actor, "from", from), "", nil, maxLookup)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Log fetches what an instance's log has at a path: checkpoint, or a tile. It is unverified.
func (c *Client) Log(ctx context.Context, instance, path string) ([]byte, error) {
	res, err := c.do(ctx, http.MethodGet, query("/log", "instance", instance, "path", path), "", nil, MaxLogFile)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// PutKeyPackages adds to what others can claim; it returns how many one-time packages are there now.
func (c *Client) PutKeyPackages(ctx context.Context, k KeyPackages) (oneTime int, err error) {
	if k.OneTime == nil {
		k.OneTime = []Bytes{}
	}
	var kept KeyPackagesKept
	err = c.call(ctx, http.MethodPut, "/key-packages", k, &kept)
	return kept.OneTime, err
}

// Claim one key package of each device of an actor. They are unverified.
func (c *Client) Claim(ctx context.Context, actor string) ([]ClaimedPackage, error) {
	var claimed Claimed
	err := c.call(ctx, http.MethodPost, "/claims", Claim{Actor: actor}, &claimed)
	return claimed.Packages, err
}

// PlainClaim asks for the key packages of an actor whose instance has no directory. They are unverified, and nothing can verify them.
func (c *Client) PlainClaim(ctx context.Context, actor string) ([]PlainPackage, error) {
	var claimed PlainClaimed
	err := c.call(ctx, http.MethodPost, "/plain-claims", Claim{Actor: actor}, &claimed)
	return claimed.Packages, err
}

// SendPlain sends any MLS message as the draft has it, without a hub and its receipts. The conversation is what the group's founder
// calls it, and may be empty.
func (c *Client) SendPlain(ctx context.Context, m Message) error {
	return c.call(ctx, http.MethodPost, "/plain-messages", m, new(Accepted))
}

// Consents are what the account asks of strangers, and who waits.
func (c *Client) Consents(ctx context.Context) (all Consents, err error) {
	err = c.call(ctx, http.MethodGet, "/consents", nil, &all)
	return all, err
}

// AskStrangers sets what the account asks of strangers.
func (c *Client) AskStrangers(ctx context.Context, policy string) error {
	return c.call(ctx, http.MethodPut, "/consents/policy", Policy{policy}, nil)
}

// Decide about somebody. The decision is in force when Decide returns nil.
func (c *Client) Decide(ctx context.Context, d Decision) error {
	return c.call(ctx, http.MethodPost, "/consents", d, nil)
}

// OpenConversation at the own sidecar's hub.
func (c *Client) OpenConversation(ctx context.Context, groupID, ticket []byte) (o Opened, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations", Open{groupID, ticket}, &o)
	return o, err
}

// Commit submits a commit and has it delivered if it is granted. If another one was granted the error is a *Conflict.
func (c *Client) Commit(ctx context.Context, commit Commit) (receipt []byte, err error) {
	var done Committed
	err = c.call(ctx, http.MethodPost, "/commits", commit, &done)
	return done.Receipt, err
}

// Events of a conversation's hub after a seq.
func (c *Client) Events(ctx context.Context, conversation string, after uint64) ([]Event, error) {
	events, err := c.Chain(ctx, conversation, "", after)
	return events.Events, err
}

// Chain is what the present hub has after a seq, or the sidecar's mirror if the hub cannot be asked. hub is empty for the first one.
func (c *Client) Chain(ctx context.Context, conversation, hub string, after uint64) (e Events, err error) {
	err = c.call(ctx, http.MethodGet, query("/events", "conversation", conversation, "hub", hub, "after", after), nil, &e)
	return e, err
}

// Lease asks the hub to be alone with the next epoch. Whoever has to wait asks again.
func (c *Client) Lease(ctx context.Context, r LeaseRequest) (l Leased, err error) {
	err = c.call(ctx, http.MethodPost, "/leases", r, &l)
	return l, err
}

// Dispute tells the hub that a commit is invalid.
func (c *Client) Dispute(ctx context.Context, d Dispute) (answer Disputed, err error) {
	err = c.call(ctx, http.MethodPost, "/disputes", d, &answer)
	return answer, err
}

// OpenTerm has the hub that a claim names open its term, and returns the receipt.
func (c *Client) OpenTerm(ctx context.Context, t NewTerm) (receipt []byte, err error) {
	var done Committed
	err = c.call(ctx, http.MethodPost, "/terms", t, &done)
	return done.Receipt, err
}

// GroupInfos are what the hub keeps sealed for the members' devices.
func (c *Client) GroupInfos(ctx context.Context, conversation, hub string) ([]GroupInfo, error) {
	var g GroupInfos
	err := c.call(ctx, http.MethodGet, query("/group-info", "conversation", conversation, "hub", hub), nil, &g)
	return g.Groups, err
}

// HubKey is the key of an instance's receipts, as it says itself.
func (c *Client) HubKey(ctx context.Context, instance string) ([]byte, error) {
	var h Hub
	err := c.call(ctx, http.MethodGet, query("/hub", "instance", instance), nil, &h)
	return h.Key, err
}

// Send hands in a message; it is durable at the sidecar when Send returns nil.
func (c *Client) Send(ctx context.Context, m Message) error {
	return c.call(ctx, http.MethodPost, "/messages", m, new(Accepted))
}

// Mailbox reads items after a cursor. If there are none the answer is held for up to wait.
func (c *Client) Mailbox(ctx context.Context, after uint64, limit int, wait time.Duration) (m Mailbox, err error) {
	path := query("/mailbox", "after", after, "limit", limit, "wait", int(wait.Seconds()))
	err = c.call(ctx, http.MethodGet, path, nil, &m)
	return m, err
}

// Acknowledge lets the sidecar delete the items up to a cursor.
func (c *Client) Acknowledge(ctx context.Context, upto uint64) error {
	return c.call(ctx, http.MethodDelete, query("/mailbox", "upto", upto), nil, nil)
}

// PutBlob keeps a file under its hash, lower-case hex of SHA-256, and returns the URL for others.
func (c *Client) PutBlob(ctx context.Context, hash string, data []byte) (string, error) {
	var b Blob
	err := c.send(ctx, http.MethodPut, "/blobs/"+hash, "application/octet-stream", data, &b)
	return b.URL, err
}

// Blob fetches a file from wherever its URL says. Its hash is not checked.
func (c *Client) Blob(ctx context.Context, fileURL string) ([]byte, error) {
	res, err := c.do(ctx, http.MethodGet, query("/blobs", "url", fileURL), "", nil, MaxBlob)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// query builds a path from pairs of name and value.
func query(path string, pairs ...any) string {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i].(string), fmt.Sprint(pairs[i+1]))
	}
	return path + "?" + q.Encode()
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	if in == nil {
		return c.send(ctx, method, path, "", nil, out)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("clientapi: writing a request: %w", err)
	}
	return c.send(ctx, method, path, "application/json", body, out)
}

func (c *Client) send(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	res, err := c.do(ctx, method, path, contentType, body, MaxBody)
	if err != nil || out == nil {
		return err
	}
	if err := strictjson.Unmarshal(res.Body, out); err != nil {
		return fmt.Errorf("clientapi: reading the sidecar's answer: %w", err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte, limit int64) (*safehttp.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("clientapi: making a request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req, limit)
	if err != nil {
		return nil, fmt.Errorf("clientapi: calling the sidecar: %w", errors.Join(ErrNoAnswer, err))
	}
	if res.Status/100 != 2 {
		return nil, refusal(res)
	}
	return res, nil
}

// refusal is the problem, the Conflict or the HubMoved in an answer.
func refusal(res *safehttp.Response) error {
	p := problem.Read(res.Status, res.Header, bytes.NewReader(res.Body))
	switch p.Code {
	case "epoch_stale", "epoch_unknown", "chain_mismatch", "chain_behind", "not_disputable":
		c := Conflict{Problem: p}
		return orUnread(&c, res.Body, &c.Behind)
	case "hub_moved":
		m := HubMoved{Problem: p}
		return orUnread(&m, res.Body, &m.Moved)
	}
	return p
}

func orUnread(err error, body []byte, into any) error {
	if unread := strictjson.Unmarshal(body, into); unread != nil {
		return fmt.Errorf("clientapi: reading why the hub refused: %w", unread)
	}
	return err
}
