// The hub of Mercure as its own library offers it, without Caddy in front: in-memory delivery, or its database where
// subscribers come back for what they missed.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/dunglas/mercure"
)

func main() {
	address, secret := os.Args[1], []byte(os.Getenv("MERCURE_JWT_SECRET"))
	subscribers := mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize)
	topics, err := mercure.NewTopicSelectorStoreCache(
		mercure.DefaultTopicSelectorStoreCacheMaxEntriesPerShard, mercure.DefaultTopicSelectorStoreCacheShardCount)
	if err != nil {
		log.Fatal(err)
	}
	var transport mercure.Transport = mercure.NewLocalTransport(subscribers)
	if len(os.Args) > 2 {
		transport, err = mercure.NewBoltTransport(subscribers, slog.New(slog.DiscardHandler), os.Args[2], "", 0, 0)
		if err != nil {
			log.Fatal(err)
		}
	}
	hub, err := mercure.NewHub(context.Background(),
		mercure.WithAnonymous(),
		mercure.WithHeartbeat(60*time.Second),
		mercure.WithLogger(slog.New(slog.DiscardHandler)),
		mercure.WithPublisherJWT(secret, "HS256"),
		mercure.WithTopicSelectorStore(topics),
		mercure.WithTransport(transport),
		mercure.WithWriteTimeout(0),
	)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/.well-known/mercure", hub)
	log.Fatal(http.ListenAndServe(address, nil))
}
