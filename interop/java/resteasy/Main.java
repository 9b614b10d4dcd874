import jakarta.ws.rs.client.Client;
import jakarta.ws.rs.client.ClientBuilder;
import jakarta.ws.rs.sse.SseEventSource;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

public final class Main {
    public static void main(String[] words) throws Exception {
        Driver.run((url, token) -> {
            Client client = ClientBuilder.newClient();
            CountDownLatch complete = new CountDownLatch(1);
            SseEventSource source = SseEventSource.target(client.target(url)).build();
            source.register(
                    event -> Driver.message(event.readData(), event.getId()),
                    Driver::error,
                    complete::countDown);
            source.open();
            // An error may be final or not, and no callback tells: it is asked.
            while (source.isOpen() && !complete.await(200, TimeUnit.MILLISECONDS)) {}
            Driver.end(source.isOpen() ? "complete" : "isOpen is false");
            source.close();
        });
    }
}
