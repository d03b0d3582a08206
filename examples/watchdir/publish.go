package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/fsnotify/fsnotify"

	"github.com/skeinmesh/skein/node/client"
)

// settle is how long a path must be quiet before its state is told: a file
// that is being written changes a thousand times a second.
const settle = 50 * time.Millisecond

// watcher publishes what happens below a directory. One goroutine runs it.
type watcher struct {
	root   string
	source string
	client *client.Client
	notify *fsnotify.Watcher
	due    map[string]time.Time // paths that changed, and when they were last touched
}

// publish watches a directory until ctx ends.
func publish(ctx context.Context, server, dir string) error {
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	c, err := client.Dial(ctx, server, client.WithAgent("watchdir publish"))
	if err != nil {
		return err
	}
	defer c.Close()
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer notify.Close()
	w := &watcher{
		root: root, client: c, notify: notify, due: map[string]time.Time{},
		source: (&url.URL{Scheme: "file", Host: host, Path: filepath.ToSlash(root)}).String(),
	}
	// The watch begins before the listing is told, so that nothing falls
	// between the two.
	if err := w.watch(root); err != nil {
		return err
	}
	wanted := make(chan struct{}, 1)
	wanted <- struct{}{} // mirrors that are there already
	sub, err := c.Subscribe(ctx, client.ByType(typeWanted), func(cloudevents.Event) {
		select {
		case wanted <- struct{}{}:
		default: // one listing answers all who ask
		}
	})
	if err != nil {
		return err
	}
	defer sub.Close()
	err = w.run(ctx, wanted)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *watcher) run(ctx context.Context, wanted <-chan struct{}) error {
	clock := time.NewTicker(settle)
	defer clock.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wanted:
			err = w.tellAll(ctx)
		case change, ok := <-w.notify.Events:
			if !ok {
				return errors.New("the watch ended")
			}
			w.due[relative(w.root, change.Name)] = time.Now()
			if change.Has(fsnotify.Create) {
				err = w.watch(change.Name)
			}
		case problem := <-w.notify.Errors:
			if !errors.Is(problem, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch: %w", problem)
			}
			err = w.tellAll(ctx) // changes were lost here: the listing tells them
		case now := <-clock.C:
			for path, touched := range w.due {
				if err == nil && now.Sub(touched) >= settle {
					delete(w.due, path)
					err = w.tell(ctx, path)
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// watch adds a directory and those below it to the watch; what came into one
// before it was watched is due, too. A file is none of its business.
func (w *watcher) watch(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && p != w.root:
			return nil // gone again
		case err != nil:
			return fmt.Errorf("watch %s: %w", p, err)
		}
		if p != dir {
			w.due[relative(w.root, p)] = time.Now()
		}
		if !d.IsDir() {
			return nil
		}
		if err := w.notify.Add(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("watch %s: %w", p, err)
		}
		return nil
	})
}

// tell publishes the state of a path.
func (w *watcher) tell(ctx context.Context, path string) error {
	e, err := look(w.root, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return w.send(ctx, typeRemoved, path, entry{Path: path})
	case err != nil:
		return err
	}
	return w.send(ctx, typeChanged, path, e)
}

// tellAll publishes the whole listing.
func (w *watcher) tellAll(ctx context.Context) error {
	all, err := walk(w.root)
	if err != nil {
		return err
	}
	return w.send(ctx, typeListing, "", all)
}

func (w *watcher) send(ctx context.Context, typ, path string, data any) error {
	e := cloudevents.NewEvent()
	e.SetID(rand.Text())
	e.SetSource(w.source) // the source is what order is kept by
	e.SetType(typ)
	e.SetTime(time.Now().UTC())
	if path != "" {
		// File names may hold what an attribute may not.
		e.SetSubject((&url.URL{Path: path}).EscapedPath())
	}
	if err := e.SetData(cloudevents.ApplicationJSON, data); err != nil {
		return fmt.Errorf("tell of %q: %w", path, err)
	}
	// What breaks the connection does not end the watch: mirrors are told of
	// a gap and ask for the listing.
	if err := w.client.Publish(ctx, e); err != nil && !errors.Is(err, client.ErrUnknownOutcome) {
		return fmt.Errorf("tell of %q: %w", path, err)
	}
	return nil
}
