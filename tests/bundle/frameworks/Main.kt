import java.io.File

fun main(arguments: Array<String>) = checkGolden(File(arguments[0]))
