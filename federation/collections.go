package federation

import (
	"encoding/json"
	"fmt"
	"time"
)

// Collection is an OrderedCollection that is read page by page.
type Collection struct {
	ID          string
	Total       int    // negative: not said
	First, Last string // pages; empty if there are none
	EventStream string // where what is added is told at once (Server-Sent Events for the ActivityPub API); empty if nowhere
	SeekItem    string // where the page of an item is found (Seek Item); empty if nowhere
}

// Document gives the collection without its items.
func (c Collection) Document() ([]byte, error) {
	doc := map[string]any{"type": "OrderedCollection", "id": c.ID}
	if c.Total >= 0 {
		doc["totalItems"] = c.Total
	}
	links(doc, map[string]string{"first": c.First, "last": c.Last, "eventStream": c.EventStream, "seekItem": c.SeekItem})
	return document(doc, c.ID)
}

// Page of an OrderedCollection.
type Page struct {
	ID, Of     string
	Next, Prev string // pages; empty if there is none
	Items      []any  // of Item and Granted
}

// Document gives the page.
func (p Page) Document() ([]byte, error) {
	items := p.Items
	if items == nil {
		items = []any{}
	}
	doc := map[string]any{"type": "OrderedCollectionPage", "id": p.ID, "partOf": p.Of, "orderedItems": items}
	links(doc, map[string]string{"next": p.Next, "prev": p.Prev})
	return document(doc, p.ID)
}

func links(doc map[string]any, pages map[string]string) {
	for name, page := range pages {
		if page != "" {
			doc[name] = page
		}
	}
}

// Item gives what a collection of activities shows of an envelope.
func Item(e Envelope, published time.Time) any { return e.create(e.To, published) }

// Granted gives what the collection of a conversation shows of a commit: whose it was is not known to the hub. It is named by its
// place in the order.
func Granted(conversation string, term, seq uint64, kind Kind, commit, receipt []byte) any {
	return map[string]any{
		"id": fmt.Sprintf("%s#%d-%d", conversation, term, seq), "type": []string{"Object", string(kind)}, "mediaType": mlsMediaType, "encoding": "base64",
		"content": commit, "conversation": conversation, "waxwing:receipt": receipt,
	}
}

// Raw is an activity as it was written once.
func Raw(activity []byte) any { return json.RawMessage(activity) }

// Added gives the event that an item has come into a collection.
func Added(collection string, item any) ([]byte, error) {
	return document(map[string]any{"type": "Add", "object": item, "target": collection}, "an event of "+collection)
}
