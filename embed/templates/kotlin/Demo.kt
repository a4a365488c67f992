package demo

import autotinybert.AutotinybertException
import autotinybert.Bundle
import autotinybert.Model
import autotinybert.measure
import java.io.File
import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking

/** Asks a bundle what it gives for each argument, or measures it with `--measure`. */
fun main(arguments: Array<String>): Unit = runBlocking {
    val texts = arguments.drop(1)
    if (texts.isEmpty()) {
        System.err.println("usage: demo BUNDLE TEXT... | BUNDLE --measure")
        exitProcess(2)
    }
    val bundle = Bundle.at(File(arguments[0]))
    try {
        if (texts == listOf("--measure")) {
            val measurement = measure(bundle)
            System.err.println("${measurement.latencyMs} ms")
            print(measurement.record)
        } else {
            Model.open(bundle, checkDigests = true).use { model ->
                model.warmUp()
                print(answers(model, texts))
            }
        }
    } catch (failure: AutotinybertException) {
        System.err.println("error: ${failure.message}")
        failure.help?.let { System.err.println("hint: $it") }
        exitProcess(1)
    }
}
