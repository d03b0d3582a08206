package conformance

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/coder/websocket"
)

// A subscriber is told by name which regions do not know yet what it wants, on
// every face; the subscription stands all the same.
func TestASubscriberIsToldTheRegionsThatAreCutOff(t *testing.T) {
	m, eu, us := twoRegions(t)
	ctx := bounded(t)
	const missing, webSocket = "Skein-Missing-Regions", "WebSocket"
	ask := func(accept string) string {
		t.Helper()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		query := url.Values{"type": {"a"}, "wait": {"300ms"}}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, eu.HTTP+"/events?"+query.Encode(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if accept == webSocket {
			conn, res, err := websocket.Dial(ctx, req.URL.String(), &websocket.DialOptions{Subprotocols: []string{"cloudevents.json"}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow() //nolint:errcheck // nothing more is wanted of it
			return res.Header.Get(missing)
		}
		req.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
		return res.Header.Get(missing)
	}
	faces := []string{"text/event-stream", "application/cloudevents-batch+json", webSocket}
	none := func() {
		t.Helper()
		for _, face := range faces {
			m.Until("no region is missing to "+face, func() bool { return ask(face) == "" })
		}
	}
	none()
	m.WAN.Isolate(us.Region, true)
	m.Until("eu knows that us is cut off", func() bool {
		for _, v := range eu.Peers() {
			if v.State == "up" {
				return false
			}
		}
		return true
	})
	for _, face := range faces {
		if got := ask(face); got != us.Region {
			t.Errorf("%s: %s is cut off, yet %s is %q", face, us.Region, missing, got)
		}
	}
	m.WAN.Isolate(us.Region, false)
	m.AwaitWhole()
	none()
}

// The metrics of both ends of a link move with the events that go over it.
func TestMetricsMoveWhenEventsFlow(t *testing.T) {
	m, eu, us := twoRegions(t)
	ctx := bounded(t)
	idle := map[string]metrics{"eu": scrape(ctx, t, eu.HTTP), "us": scrape(ctx, t, us.HTTP)}

	poll := subscribePoll(ctx, t, us.HTTP)
	awaitInterest(ctx, t, eu.HTTP, us.Region, goType)
	wanted := scrape(ctx, t, eu.HTTP)
	if before, now := idle["eu"].sum("skein_interests", `scope="region"`), wanted.sum("skein_interests", `scope="region"`); now != before+1 {
		t.Errorf("eu knew %v interests of regions before a subscription in us, and %v with it", before, now)
	}
	sender, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(eu.HTTP + "/events"))
	if err != nil {
		t.Fatal(err)
	}
	const events = 10
	for i := range events {
		if err := sender.Send(binding.WithForceBinary(ctx), goEvent(t, strconv.Itoa(i))); !cloudevents.IsACK(err) {
			t.Fatal(err)
		}
	}
	for range events {
		poll.next(ctx, t)
	}
	for _, c := range []struct {
		at, name, label string
		want            float64 // more than when idle
	}{
		{"eu", "skein_published_events_total", "", events},
		{"eu", "skein_http_accepted_events_total", "", events},
		{"eu", "skein_http_requests_total", `status="202"`, events},
		{"eu", "skein_forwarded_events_total", "", events},
		{"eu", "skein_link_events_total", `direction="out"`, events},
		{"eu", "skein_link_events_total", `direction="in"`, 0},
		{"us", "skein_link_events_total", `direction="in"`, events},
		{"us", "skein_received_events_total", "", events},
		{"us", "skein_delivered_events_total", "", events},
		{"us", "skein_http_sent_events_total", "", events},
		{"us", "skein_subscriptions", "", 1},
		{"us", "skein_interests", `scope="subscription"`, 1},
	} {
		now := scrape(ctx, t, map[string]string{"eu": eu.HTTP, "us": us.HTTP}[c.at])
		if got := now.sum(c.name, c.label) - idle[c.at].sum(c.name, c.label); got != c.want {
			t.Errorf("%s{%s} of %s has moved by %v, want %v", c.name, c.label, c.at, got, c.want)
		}
	}
	m.Until("eu has heard rumors", func() bool {
		return scrape(ctx, t, eu.HTTP).sum("skein_gossip_rumors_total", "") > 0
	})
	now := scrape(ctx, t, eu.HTTP)
	for name, plausible := range map[string]func(float64) bool{
		"skein_ready":                           func(v float64) bool { return v == 1 },
		"skein_peers":                           func(v float64) bool { return v == 1 },
		"skein_links_up":                        func(v float64) bool { return v == 1 },
		"skein_link_up":                         func(v float64) bool { return v == 1 },
		"skein_link_rtt_seconds":                func(v float64) bool { return v > 0 && v < 10 },
		"skein_link_loss_ratio":                 func(v float64) bool { return v >= 0 && v <= 1 },
		"skein_link_queued_bytes":               func(v float64) bool { return v == 0 },
		"skein_dropped_frames_total":            func(v float64) bool { return v == 0 },
		"skein_link_dropped_total":              func(v float64) bool { return v == 0 },
		"skein_missed_events_total":             func(v float64) bool { return v == 0 },
		"skein_subscription_queued_bytes":       func(v float64) bool { return v == 0 },
		"skein_gossip_peers":                    func(v float64) bool { return v == 1 },
		"skein_gossip_rumors_dropped_total":     func(v float64) bool { return v == 0 },
		"skein_gossip_rejoins_total":            func(v float64) bool { return v >= 0 },
		"skein_gossip_health_score":             func(v float64) bool { return v >= 0 },
		"skein_transport_connections":           func(v float64) bool { return v >= 2 },
		"skein_transport_packets_dropped_total": func(v float64) bool { return v >= 0 },
		"skein_transport_packets_rebuilt_total": func(v float64) bool { return v >= 0 },
	} {
		if !now.has(name) {
			t.Errorf("there is no %s", name)
		} else if v := now.sum(name, ""); !plausible(v) {
			t.Errorf("%s is %v", name, v)
		}
	}
	m.Until("eu has counted what went out", func() bool { // now and then, not for each frame
		const name, out = "skein_link_bytes_total", `direction="out"`
		return scrape(ctx, t, eu.HTTP).sum(name, out)-idle["eu"].sum(name, out) >= events*100
	})
}

// metrics is what /metrics said: value by name and labels.
type metrics map[string]float64

func scrape(ctx context.Context, t *testing.T, node string) metrics {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, node+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	m := metrics{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		m[line[:at]] = v
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return m
}

// sum adds the values of a name that have a label; of all with an empty one.
func (m metrics) sum(name, label string) (sum float64) {
	for series, v := range m {
		if base, labels, _ := strings.Cut(series, "{"); base == name && strings.Contains(labels, label) {
			sum += v
		}
	}
	return sum
}

func (m metrics) has(name string) bool {
	for series := range m {
		if base, _, _ := strings.Cut(series, "{"); base == name {
			return true
		}
	}
	return false
}
