package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/skeinmesh/skein/node/client"
)

// dial connects a client to the node that the flags name. agent says who it
// is, for people who look at the mesh. A connection that breaks later is said
// on stderr, and made again.
func (a *app) dial(ctx context.Context, s serverFlags, agent string, more ...client.Option) (*client.Client, error) {
	u, err := s.address()
	if err != nil {
		return nil, err
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	config, err := s.tls()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := append([]client.Option{client.WithAgent(agent), client.WithLogger(log), client.WithOverflow(client.Block)}, more...)
	if s.namespace != "" {
		options = append(options, client.WithNamespace(s.namespace))
	}
	if token != "" {
		options = append(options, client.WithToken(token))
	}
	if config != nil {
		options = append(options, client.WithTLS(config))
	}
	c, err := client.Dial(ctx, u.String(), options...)
	if err != nil {
		return nil, unreachable(s.url, err)
	}
	return c, nil
}

// selection is what a subscriber wants, as flags say it.
type selection struct{ pattern, source, subject, cesql string }

// filter is what all of the given flags want together.
func (s *selection) filter() client.Filter {
	var all []client.Filter
	if s.pattern != "" {
		all = append(all, client.ByType(s.pattern))
	}
	if s.source != "" {
		all = append(all, client.Source(s.source))
	}
	if s.subject != "" {
		all = append(all, client.Subject(s.subject))
	}
	if s.cesql != "" {
		all = append(all, client.Where(s.cesql))
	}
	return client.All(all...)
}

// String is the selection for a person.
func (s *selection) String() string {
	text := ""
	add := func(what, value string) {
		if value == "" {
			return
		}
		if text != "" {
			text += " and "
		}
		text += fmt.Sprintf("%s %s", what, printable(value))
	}
	add("type", s.pattern)
	add("source", s.source)
	add("subject", s.subject)
	add("filter", s.cesql)
	if text == "" {
		return "everything"
	}
	return text
}
