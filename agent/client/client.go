package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/waxwing-dm/waxwing/internal/problem"
)

// ErrNoAgent means that nobody listens where the agent should.
var ErrNoAgent = errors.New("no agent is running; start one: waxwing agent")

// Client calls one agent. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// Unix makes a client of the agent that listens on a socket.
func Unix(socket string) *Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return &Client{"http://localhost", "", &http.Client{Transport: transport}}
}

// TCP makes a client of the agent that listens on a loopback address.
func TCP(address, token string) *Client {
	return &Client{"http://" + address, token, &http.Client{Transport: &http.Transport{}}}
}

// Account that is logged in.
func (c *Client) Account(ctx context.Context) (a Account, err error) {
	err = c.call(ctx, http.MethodGet, "/account", "", nil, &a)
	return a, err
}

// Status is how things stand.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, http.MethodGet, "/status", "", nil, &s)
	return s, err
}

// Login of this device.
func (c *Client) Login(ctx context.Context, handle, code string) (a Account, err error) {
	err = c.call(ctx, http.MethodPost, "/login", "", Login{Handle: handle, Code: code}, &a)
	return a, err
}

// LoginReset is Login for who has lost the account's device.
func (c *Client) LoginReset(ctx context.Context, handle, code string) (a Account, err error) {
	err = c.call(ctx, http.MethodPost, "/login", "", Login{Handle: handle, Code: code, Reset: true}, &a)
	return a, err
}

// RevokeDevice takes this device off its account's list, for good.
func (c *Client) RevokeDevice(ctx context.Context) (r Revoked, err error) {
	err = c.call(ctx, http.MethodPost, "/devices/this/revocation", "", nil, &r)
	return r, err
}

// Contact looks somebody up.
func (c *Client) Contact(ctx context.Context, handle string) (x Contact, err error) {
	err = c.call(ctx, http.MethodGet, "/contacts/"+url.PathEscape(handle), "", nil, &x)
	return x, err
}

// AcceptKeys takes somebody's keys for theirs, as of so many resets.
func (c *Client) AcceptKeys(ctx context.Context, handle string, resets int) (x Contact, err error) {
	err = c.call(ctx, http.MethodPost, "/contacts/"+url.PathEscape(handle)+"/accept", "", Accept{resets}, &x)
	return x, err
}

// Consent says who may write to this person.
func (c *Client) Consent(ctx context.Context) (x Consent, err error) {
	err = c.call(ctx, http.MethodGet, "/consent", "", nil, &x)
	return x, err
}

// SetConsent sets it: everybody, requests or nobody.
func (c *Client) SetConsent(ctx context.Context, from string) (x Consent, err error) {
	err = c.call(ctx, http.MethodPut, "/consent", "", Ask{from}, &x)
	return x, err
}

// Requests lists who waits to be accepted.
func (c *Client) Requests(ctx context.Context) ([]Request, error) {
	var list Requests
	err := c.call(ctx, http.MethodGet, "/requests", "", nil, &list)
	return list.Requests, err
}

// LookAt opens a request without accepting it.
func (c *Client) LookAt(ctx context.Context, id string) (x Preview, err error) {
	err = c.call(ctx, http.MethodGet, "/requests/"+url.PathEscape(id), "", nil, &x)
	return x, err
}

// Decide on a request: accept, delete or block. It returns those that are left.
func (c *Client) Decide(ctx context.Context, id, decision string) ([]Request, error) {
	var list Requests
	err := c.call(ctx, http.MethodPost, "/requests/"+url.PathEscape(id), "", Decision{decision}, &list)
	return list.Requests, err
}

// Block somebody, who is not told.
func (c *Client) Block(ctx context.Context, handle string) (x Consent, err error) {
	err = c.call(ctx, http.MethodPost, "/contacts/"+url.PathEscape(handle)+"/block", "", nil, &x)
	return x, err
}

// Unblock somebody.
func (c *Client) Unblock(ctx context.Context, handle string) (x Consent, err error) {
	err = c.call(ctx, http.MethodPost, "/contacts/"+url.PathEscape(handle)+"/unblock", "", nil, &x)
	return x, err
}

// Devices of the account.
func (c *Client) Devices(ctx context.Context) (d Devices, err error) {
	err = c.call(ctx, http.MethodGet, "/devices", "", nil, &d)
	return d, err
}

// Distrusted lists the logs in which nothing new is believed, and the hubs that lied.
func (c *Client) Distrusted(ctx context.Context) (l DistrustedLogs, err error) {
	err = c.call(ctx, http.MethodGet, "/logs/distrusted", "", nil, &l)
	return l, err
}

// Conversations lists all of them.
func (c *Client) Conversations(ctx context.Context) ([]Conversation, error) {
	var list Conversations
	err := c.call(ctx, http.MethodGet, "/conversations", "", nil, &list)
	return list.Conversations, err
}

// Conversation gives one.
func (c *Client) Conversation(ctx context.Context, id string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodGet, "/conversations/"+url.PathEscape(id), "", nil, &x)
	return x, err
}

// Start a conversation.
func (c *Client) Start(ctx context.Context, to ...string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations", "", Start{To: to}, &x)
	return x, err
}

// Messages of a conversation, after one.
func (c *Client) Messages(ctx context.Context, id string, after uint64, limit int) (m Messages, err error) {
	path := fmt.Sprintf("/conversations/%s/messages?after=%d&limit=%d", url.PathEscape(id), after, limit)
	err = c.call(ctx, http.MethodGet, path, "", nil, &m)
	return m, err
}

// Send a message. The same key and message are sent once.
func (c *Client) Send(ctx context.Context, key string, m Outgoing) (sent Message, err error) {
	err = c.call(ctx, http.MethodPost, "/messages", key, m, &sent)
	return sent, err
}

// SendFile sends a file in a conversation.
func (c *Client) SendFile(ctx context.Context, key, id, name, mediaType string, data []byte) (sent Message, err error) {
	q := url.Values{"name": {name}, "media_type": {mediaType}}
	err = c.do(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/files?"+q.Encode(), key, "application/octet-stream", data, &sent)
	return sent, err
}

// File fetches the n-th file of a message.
func (c *Client) File(ctx context.Context, id string, message uint64, n int) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, fmt.Sprintf("/conversations/%s/messages/%d/files/%d", url.PathEscape(id), message, n), "", "", nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, MaxFile+1))
}

// AddMembers to a conversation.
func (c *Client) AddMembers(ctx context.Context, id string, handles ...string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/members", "", Handles{handles}, &x)
	return x, err
}

// RemoveMember from a conversation.
func (c *Client) RemoveMember(ctx context.Context, id, handle string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodDelete, "/conversations/"+url.PathEscape(id)+"/members/"+url.PathEscape(handle), "", nil, &x)
	return x, err
}

// SetAdmin makes a member of a conversation an admin, or takes that back.
func (c *Client) SetAdmin(ctx context.Context, id, handle string, admin bool) (x Conversation, err error) {
	method := http.MethodPut
	if !admin {
		method = http.MethodDelete
	}
	err = c.call(ctx, method, "/conversations/"+url.PathEscape(id)+"/members/"+url.PathEscape(handle)+"/admin", "", nil, &x)
	return x, err
}

// Resume a paused conversation.
func (c *Client) Resume(ctx context.Context, id string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/resume", "", nil, &x)
	return x, err
}

// Resync has the device come back into a conversation with new keys.
func (c *Client) Resync(ctx context.Context, id string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/resync", "", nil, &x)
	return x, err
}

// Leave a conversation. admin, if not empty, is the handle of who is made an admin first.
func (c *Client) Leave(ctx context.Context, id, admin string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/leave", "", Leave{Admin: admin}, &x)
	return x, err
}

// MoveHub has the instance of another member keep the order of a conversation's changes.
func (c *Client) MoveHub(ctx context.Context, id, instance string) (x Conversation, err error) {
	err = c.call(ctx, http.MethodPost, "/conversations/"+url.PathEscape(id)+"/hub", "", Move{Instance: instance}, &x)
	return x, err
}

// Follow calls f for every event after a cursor, as they come, until f returns an error or the context ends. To go on after a
// broken connection, call it again with the cursor of the last event.
func (c *Client) Follow(ctx context.Context, after uint64, f func(Event) error) error {
	res, err := c.send(ctx, http.MethodGet, "/events?after="+strconv.FormatUint(after, 10), "", "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("client: reading an event: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if lines.Err() != nil {
		return fmt.Errorf("client: following events: %w", lines.Err())
	}
	return io.ErrUnexpectedEOF
}

func (c *Client) call(ctx context.Context, method, path, key string, in, out any) error {
	if in == nil {
		return c.do(ctx, method, path, key, "", nil, out)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("client: writing a request: %w", err)
	}
	return c.do(ctx, method, path, key, "application/json", body, out)
}

func (c *Client) do(ctx context.Context, method, path, key, contentType string, body []byte, out any) error {
	res, err := c.send(ctx, method, path, key, contentType, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("client: reading the agent's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, key, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/v1"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: making a request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return nil, ErrNoAgent
	}
	if err != nil {
		return nil, fmt.Errorf("client: calling the agent: %w", err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, problem.Read(res.StatusCode, res.Header, res.Body)
	}
	return res, nil
}
